"""Import the pack under one name, whatever the folder is called that somebody cloned it into."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
NAME = "sgool"


def load_pack() -> ModuleType:
    """Return the pack imported as ``sgool``, as ComfyUI does it: from its folder, whatever that is called.

    The folder itself stays off ``sys.path``, where the pack's ``nodes`` would hide ComfyUI's module of that name.
    """
    if NAME in sys.modules:
        return sys.modules[NAME]
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{ROOT} has no __init__.py; is this a complete copy of the pack?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module
