"""Make ComfyUI importable in this process: in the tests, in the benchmarks, in training."""

from __future__ import annotations

import sys
from pathlib import Path

from . import stand_ins

FOLDERS = ("models", "input", "output", "temp", "user", "custom_nodes")


def make_base(base: Path) -> Path:
    """Create the folders that ComfyUI wants to find below its base directory."""
    for name in FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    return base


def prepare(comfyui: Path, base: Path, *, cpu: bool = True) -> None:
    """Let ``import comfy`` (and ``folder_paths``, ``nodes``...) find the ComfyUI in ``comfyui``.

    Its models, inputs and outputs are looked for in ``base``, never in its own tree. ComfyUI reads the command line when it is first
    imported, so that import happens here, with its own arguments in the place of this process's.
    """
    stand_ins.install()
    make_base(base)
    if str(comfyui) not in sys.path:
        sys.path.insert(0, str(comfyui))
    arguments = ["main.py", "--base-directory", str(base), "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
    ours, sys.argv = sys.argv, [*arguments, *(["--cpu"] if cpu else [])]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args
    finally:
        sys.argv = ours
