"""The one list of rewards. A new one is a new file in this folder, with its name as ``NAME`` and its :class:`Entry` as ``REGISTERED``."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch

from ..schema.registered import registered
from ..schema.weights import read_state_dict
from .entries import Entry
from .interface import Reward

WEIGHTS = (".safetensors", ".pth", ".pt")


@functools.cache
def available() -> dict[str, Entry]:
    """Every kind of reward by name."""
    return registered([str(Path(__file__).parent)], __package__)


def recognize(path: Path) -> str | None:
    """The name of the kind of reward that a file or folder is, or ``None``."""
    return next((name for name, entry in available().items() if entry.recognizes(path)), None)


def load(path: Path | str, dtype: torch.dtype = torch.float32, tokenizers: Mapping[str, Path] | None = None) -> Reward:
    """The reward in a file or folder, on the CPU, its weights frozen.

    Its tensors are ordinary ones, also when a ComfyUI node asks from within inference mode: gradients have to pass through them.

    Args:
        path: the file or folder.
        dtype: the precision of the weights.
        tokenizers: folders with tokenizers by name, for rewards whose files bring none (``Entry.tokenizer``).

    Raises:
        ValueError: for what is no reward that is known here, or not whole, with what was expected.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} is not there. {known()}")
    name = recognize(path)
    if name is None:
        if path.suffix in WEIGHTS and path.is_file():
            read_state_dict(path)  # truncated, a web page, a pickle with code: it says so
        raise ValueError(f"{path.name} is no reward that is known here. {known()}")
    entry = available()[name]
    own: dict[str, Path] = {}
    if entry.tokenizer:
        if entry.tokenizer not in (tokenizers or {}):
            raise ValueError(f"{path.name} ({name}) comes without its tokenizer; a folder with {entry.tokenizer!r}'s has to be given.")
        own["tokenizer"] = (tokenizers or {})[entry.tokenizer]
    with torch.inference_mode(False), torch.no_grad():
        return entry.load(path, dtype, **own)


def known() -> str:
    """A sentence that lists what can be loaded."""
    return "Known are: " + "; ".join(f"{name} ({entry.files}, from {entry.where})" for name, entry in available().items()) + "."
