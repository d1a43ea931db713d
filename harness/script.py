"""Run a script, or a module of the pack, with ``import sgool`` and ``import comfy`` working.

``python -m harness.script WHAT ARGUMENTS...``, where WHAT is a path or a module such as ``sgool.demo.train``.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from . import comfyui, in_process
from .pack import ROOT, load_pack


def prepare() -> None:
    """Make ``sgool`` and, where there is a ComfyUI, ``comfy`` importable in this process; also run by dask's workers, before all else."""
    tree = comfyui.find()
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    if tree is not None:
        in_process.prepare(tree, ROOT / ".cache" / "comfyui-base", cpu=not _has_accelerator())
    load_pack()


def main() -> None:
    """Prepare this process and hand over to the script, as if it had been started by itself."""
    what, sys.argv = sys.argv[1], sys.argv[1:]
    prepare()
    if what.startswith("sgool."):
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(what).parent))
        runpy.run_path(what, run_name="__main__")


def _has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


if __name__ == "__main__":
    main()
