"""What a function of the tests returns in a process of its own, where nothing has happened before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from sgool.harness.pack import ROOT
from torch import Tensor

_SCRIPT = """
import importlib, sys
from pathlib import Path
from harness import comfyui, in_process
from harness.pack import load_pack
where, module, name = sys.argv[1:]
in_process.prepare(comfyui.find(), Path(where))
load_pack()
import torch
with torch.inference_mode():
    torch.save(getattr(importlib.import_module(module), name)(), Path(where) / "result.pt")
"""


def in_fresh_process(module: str, name: str, folder: Path) -> Tensor:
    """The tensor that ``name()`` of ``module`` returns there, in inference mode. ``folder``: an empty one, for what is written."""
    command = [sys.executable, "-c", _SCRIPT, str(folder), module, name]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return torch.load(folder / "result.pt", weights_only=True)
