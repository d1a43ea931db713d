"""Make the pack and ComfyUI importable for the benchmarks, and the models of the tests."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def prepare(*, cpu: bool = True) -> None:
    """Import the pack as ``sgool``; after that ``import comfy`` works too, and ``helper`` finds the tests' models.

    Raises:
        SystemExit: without a ComfyUI, with what to do about it.
    """
    _load("_sgool_pack_loader", ROOT / "harness" / "pack.py").load_pack()
    from sgool.harness import comfyui, in_process

    folder = comfyui.find()
    if folder is None:
        raise SystemExit("No ComfyUI found: set COMFYUI_PATH to its folder, or run `python run.py test` once, which brings one.")
    in_process.prepare(folder, Path(tempfile.mkdtemp(prefix="sgool-benchmark-")), cpu=cpu)


def helper(name: str) -> ModuleType:
    """A module of tests/comfyui, such as ``"tiny_models"``."""
    package = "_sgool_comfyui_tests"
    folder = ROOT / "tests" / "comfyui"
    if package not in sys.modules:
        holder = ModuleType(package)
        holder.__path__ = [str(folder)]
        sys.modules[package] = holder
    return importlib.import_module(f"{package}.{name}")


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is missing; is this a complete copy of the pack?")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
