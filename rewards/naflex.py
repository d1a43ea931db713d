"""SigLIP 2 of variable resolution (NaFlex, arXiv 2502.14786): images keep their aspect ratio, and are cut into as many patches as fit.

The size is that of image_processing_siglip2.py of transformers, which this calls; the order of a patch's numbers is of there, too.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from .encoder_files import load_tokenizer, model_config, processor_config, read_model
from .encoders import TransformersEncoder, features
from .entries import Entry
from .interface import at_least_float32
from .preprocessing import Preprocessing


@dataclass(frozen=True)
class PatchPreprocessing(Preprocessing):
    """Resizes to the largest whole number of patches, in the image's own aspect ratio, that the budget allows; squeezing it a little.

    Attributes:
        patch: the side of a patch, in pixels.
        budget: the most patches of an image.
    """

    patch: int = 16
    budget: int = 256

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PatchPreprocessing:
        """Read a ``preprocessor_config.json``; what it leaves out is SigLIP 2's default."""
        patch, budget = int(config.get("patch_size", 16)), int(config.get("max_num_patches", 256))
        if patch < 1 or budget < 1:
            raise ValueError(f"The image processor's patch_size {patch} and max_num_patches {budget} have to be at least 1.")
        plain = {key: value for key, value in config.items() if key not in ("patch_size", "max_num_patches", "size")}
        base = Preprocessing.from_config({"resample": 2, **plain, "image_processor_type": "SiglipImageProcessor"})
        return cls("exact", (0, 0), None, base.kernel, base.factor, base.mean, base.std, patch=patch, budget=budget)

    @property
    def output_size(self) -> tuple[int, int]:
        """That of a square image."""
        side = max(1, int(self.budget**0.5)) * self.patch
        return side, side

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        return _fitting(height, width, self.patch, self.budget)


@functools.lru_cache(maxsize=256)
def _fitting(height: int, width: int, patch: int, budget: int) -> tuple[int, int]:
    from transformers.models.siglip2.image_processing_siglip2 import get_image_size_for_max_num_patches

    found = get_image_size_for_max_num_patches(height, width, patch, budget)
    return int(found[0]), int(found[1])


class NaflexEncoder(TransformersEncoder):
    """SigLIP 2 NaFlex: the cosine between image and prompt. Prompts are read in lower case, as it was trained."""

    preprocessing: PatchPreprocessing

    def __init__(self, model: nn.Module, tokenizer: Any, preprocessing: PatchPreprocessing, name: str = "The encoder") -> None:
        super().__init__(model, tokenizer, preprocessing, name)
        self._lower_case = True

    @property
    def vision_shape(self) -> dict[str, Any]:
        """As of a square image of the whole budget."""
        return {**super().vision_shape, "image_size": self.image_size}

    def _image_features(self, pixel_values: Tensor) -> Tensor:
        patches, grid = patches_of(pixel_values, self.preprocessing.patch)
        shapes = torch.tensor([grid] * len(patches), device=self.device)
        mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=self.device)  # images of a batch are of one size: nothing is padding
        values = patches.to(self.device, self.dtype)
        found = self.model.get_image_features(pixel_values=values, pixel_attention_mask=mask, spatial_shapes=shapes)
        return at_least_float32(features(found))


def patches_of(pixels: Tensor, patch: int) -> tuple[Tensor, tuple[int, int]]:
    """``(B, n, patch * patch * 3)`` row by row, each patch with its channels last, and how many rows and columns there are."""
    down, across = pixels.shape[-2] // patch, pixels.shape[-1] // patch
    return rearrange(pixels, "b c (h p) (w q) -> b (h w) (p q c)", p=patch, q=patch), (down, across)


def load_naflex(path: Path, dtype: torch.dtype = torch.float32) -> NaflexEncoder:
    """Load a folder as transformers saves it. Raises ``ValueError`` with what is missing, unreadable or of another model."""
    config = model_config(path, ("siglip2",))
    declared, where = processor_config(path)
    try:
        preprocessing = PatchPreprocessing.from_config(declared)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
    return NaflexEncoder(read_model(path, config["model_type"]).to(dtype), load_tokenizer(path), preprocessing, path.name)


def _recognizes(path: Path) -> bool:
    try:
        return bool(json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type") == "siglip2")
    except (OSError, ValueError, AttributeError):
        return False


NAME = "SigLIP 2 NaFlex"
REGISTERED = Entry(
    summary="The cosine between the vectors of prompt and image, which keeps its aspect ratio.",
    where="https://huggingface.co/google/siglip2-base-patch16-naflex",
    license="Apache-2.0",
    files="a folder with config.json, model.safetensors, preprocessor_config.json and the tokenizer",
    recognizes=_recognizes,
    load=load_naflex,
)
