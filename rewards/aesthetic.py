"""LAION's aesthetic predictor: how much people like an image by itself, from CLIP ViT-L/14's vector of it.

Formula: simple_inference.py of github.com/christophschuhmann/improved-aesthetic-predictor. Its five layers have nothing between them, so
that the score is a plane through CLIP's sphere of unit vectors.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..numerics.loss_scaling import scaled
from ..schema.weights import WeightsError, build_with_weights, read_state_dict, weight_shapes
from .encoder_files import model_config, read_model, read_preprocessing
from .entries import Entry
from .heads import Head
from .interface import at_least_float32
from .preprocessing import Preprocessing

WIDTH = 768
PLACES = (0, 2, 4, 6, 7)  # of the layers in the file; dropout, which does nothing here, has the numbers between
CLIP_FOLDER = "clip-vit-large-patch14"
IMAGE_ALONE = "%s looks at the image alone: what the prompt says does not count for it."
NEEDS_CLIP = (
    "{file} is only the last layers of the predictor. They read the image vectors of CLIP ViT-L/14, and there is none beside the file: put "
    "a folder clip-vit-large-patch14 into {folder}, with config.json, model.safetensors and preprocessor_config.json of "
    "https://huggingface.co/openai/clip-vit-large-patch14 in it.{found}"
)


class AestheticPredictor:
    """A reward without a prompt: mostly from 3 to 7, as people rated photographs and generated images from 1 to 10.

    Args:
        clip: transformers' ``CLIPModel``, ViT-L/14; its text tower is not kept.
        head: the predictor.
        preprocessing: CLIP's own.
        name: how messages call it.
    """

    reads_prompts = False

    def __init__(self, clip: Any, head: Head, preprocessing: Preprocessing, name: str = "The aesthetic predictor") -> None:
        parts = {"vision": clip.vision_model, "projection": clip.visual_projection, "head": head}
        self.model = nn.ModuleDict(parts).eval().requires_grad_(False)
        self.preprocessing = preprocessing
        self.name = name
        self._told = False

    @property
    def image_size(self) -> int:
        """The side of the images it takes, in pixels."""
        return int(self.vision_shape["image_size"])

    @property
    def vision_shape(self) -> dict[str, Any]:
        """``num_hidden_layers``, ``hidden_size``, ``image_size`` and ``patch_size`` of the image tower."""
        config: Any = self.model["vision"].config
        shape: dict[str, Any] = config.to_dict()
        return shape

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """See ``rewards.interface.Reward``; prompts do not count, which the log says once."""
        if not self._told and any(prompt.strip() for prompt in prompts):
            logging.warning(IMAGE_ALONE, self.name)
            self._told = True
        pixels = self.preprocessing(images)
        half = self.model["projection"].weight.dtype in (torch.float16, torch.bfloat16)
        vectors = scaled(self._vectors, pixels) if half else self._vectors(pixels)
        scores: Tensor = self.model["head"](functional.normalize(vectors, dim=-1))
        return scores

    def _vectors(self, pixels: Tensor) -> Tensor:
        seen = self.model["vision"](pixel_values=pixels.to(next(self.model["projection"].parameters()))).pooler_output
        return at_least_float32(self.model["projection"](seen))


def load_aesthetic(path: Path, dtype: torch.dtype = torch.float32) -> AestheticPredictor:
    """Load the predictor's file, and the CLIP ViT-L/14 in a folder beside it, of which only the image tower is kept.

    Raises:
        ValueError: with the file that is missing or wrong, and where to get it.
    """
    state = {key: value.to(torch.promote_types(dtype, torch.float32)) for key, value in read_state_dict(path).items()}
    head = build_with_weights(lambda: Head(WIDTH, PLACES, gelu=False), state, NAME)
    folder = _clip_beside(path)
    clip = read_model(folder, "clip")
    return AestheticPredictor(clip.to(dtype), head, read_preprocessing(folder, "clip"), path.name)


def _clip_beside(path: Path) -> Path:
    """The folder of a CLIP whose image vectors have 768 numbers."""
    beside = (each for each in path.parent.iterdir() if each.is_dir())
    folders = [path.parent, *sorted(beside, key=lambda each: (each.name != CLIP_FOLDER, each.name))]
    found = []
    for folder in folders:
        if not (folder / "config.json").is_file():
            continue
        try:
            config = model_config(folder)
        except ValueError:
            continue
        if config["model_type"] == "clip" and config.get("projection_dim", 512) == WIDTH:
            return folder
        found.append(folder.name)
    others = f" ({', '.join(found)} there: not a CLIP of that kind.)" if found else ""
    raise WeightsError(NEEDS_CLIP.format(file=path.name, folder=path.parent, found=others))


def _recognizes(path: Path) -> bool:
    if not path.is_file():
        return False
    shapes = weight_shapes(path)
    return shapes.get("layers.0.weight") == (1024, WIDTH) and f"layers.{PLACES[-1]}.weight" in shapes


NAME = "LAION aesthetic predictor"
REGISTERED = Entry(
    summary="How much people like the image, without a prompt.",
    where="https://github.com/christophschuhmann/improved-aesthetic-predictor",
    license="Apache-2.0, with CLIP ViT-L/14's MIT",
    files="sac+logos+ava1-l14-linearMSE.pth, and beside it the folder clip-vit-large-patch14",
    recognizes=_recognizes,
    load=load_aesthetic,
)
