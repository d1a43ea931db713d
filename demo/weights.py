"""The weights files of the demo model: safetensors, half precision, beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

WEIGHTS = Path(__file__).parent / "weights"
LORAS = WEIGHTS / "loras"
"""Where core's LoRA loader finds those of the demo model."""


def _path(name: str) -> Path:
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"The demo model's file {path.name} is missing from {path.parent}. It comes with the pack: install the pack again, "
            "or train it with 'python run.py train'."
        )
    return path


def read(name: str) -> dict[str, Tensor]:
    """One file's tensors, as stored.

    Raises:
        FileNotFoundError: the pack is incomplete.
        RuntimeError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _path(name)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise RuntimeError(f"{path} is damaged ({error}). It comes with the pack: install the pack again.") from error


def read_metadata(name: str) -> dict[str, Any]:
    """The numbers kept in a file's header, by name."""
    from safetensors import safe_open

    with safe_open(_path(name), framework="pt") as file:
        return {key: json.loads(value) for key, value in (file.metadata() or {}).items()}


def write(name: str, tensors: dict[str, Tensor], **metadata: Any) -> Path:
    """Store tensors in half precision, and numbers in the header."""
    from safetensors.torch import save_file

    WEIGHTS.mkdir(exist_ok=True)
    path = WEIGHTS / f"{name}.safetensors"
    halves = {k: v.detach().half().contiguous().cpu() if v.is_floating_point() else v.contiguous().cpu() for k, v in tensors.items()}
    save_file(halves, path, metadata={key: json.dumps(value) for key, value in metadata.items()})
    return path
