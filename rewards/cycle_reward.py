"""CycleReward: trained on how well an image can be made again from its description, and a description from its image."""

from __future__ import annotations

from pathlib import Path

import torch

from .blip import BlipReward, Kind, is_blip, load_blip
from .entries import Entry

NAME = "CycleReward"
KIND = Kind(NAME, 128, (0, 2, 4, 6, 8), gelu=True)


def _load(path: Path, dtype: torch.dtype) -> BlipReward:
    return load_blip(path, dtype, KIND)


REGISTERED = Entry(
    summary="How faithfully the image shows a prompt, also a long one.",
    where="https://github.com/hjbahng/cyclereward",
    license="MIT",
    files="CycleReward-Combo.pth, and beside it vocab.txt of bert-base-uncased",
    recognizes=lambda path: is_blip(path, KIND.places),
    load=_load,
)
