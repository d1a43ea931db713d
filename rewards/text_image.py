"""CLIP, PickScore, SigLIP and their kin: the cosine between image and prompt, from a folder as transformers saves it."""

from __future__ import annotations

from pathlib import Path

from .encoder_files import load_encoder
from .entries import Entry


def _recognizes(path: Path) -> bool:
    return path.is_dir() and (path / "config.json").is_file()


NAME = "CLIP, SigLIP or PickScore"
REGISTERED = Entry(
    summary="The cosine between the vectors of image and prompt.",
    where="https://huggingface.co/yuvalkirstain/PickScore_v1, https://huggingface.co/openai/clip-vit-large-patch14",
    license="each model's own: MIT (CLIP, PickScore), Apache-2.0 (SigLIP)",
    files="a folder with config.json, model.safetensors, preprocessor_config.json and the tokenizer",
    recognizes=_recognizes,
    load=load_encoder,
)
