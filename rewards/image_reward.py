"""ImageReward: trained on what people said of generated images, how well they show the prompt and how good they look."""

from __future__ import annotations

from pathlib import Path

import torch

from .blip import BlipReward, Kind, is_blip, load_blip
from .entries import Entry

NAME = "ImageReward"
KIND = Kind(NAME, 35, (0, 2, 4, 6, 7), gelu=False, mean=0.16717362830052426, deviation=1.0333394966054072)


def _load(path: Path, dtype: torch.dtype) -> BlipReward:
    return load_blip(path, dtype, KIND)


REGISTERED = Entry(
    summary="What people prefer among images of a prompt; its authors brought it to mean 0 and deviation 1.",
    where="https://huggingface.co/THUDM/ImageReward",
    license="Apache-2.0",
    files="ImageReward.pt, and beside it vocab.txt of bert-base-uncased",
    recognizes=lambda path: is_blip(path, KIND.places),
    load=_load,
)
