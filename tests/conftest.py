"""Make the pack importable as ``sgool`` in every test."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PACK = Path(__file__).resolve().parent.parent / "harness" / "pack.py"
_spec = importlib.util.spec_from_file_location("_sgool_pack_loader", _PACK)
assert _spec is not None and _spec.loader is not None
_loader = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_loader)
_loader.load_pack()
