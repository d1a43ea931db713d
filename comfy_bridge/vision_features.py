"""Feature maps of the layers of ComfyUI's CLIP_VISION: of CLIP, SigLIP or DINOv2."""

from __future__ import annotations

from typing import Any

import comfy.clip_model
import comfy.image_encoders.dino2
import comfy.ldm.modules.attention
import torch
from torch import Tensor

from ..image_ops.resize import resize
from ..latent_optimization.autograd_mode import gradients
from . import memory
from .comfy_towers import clip_layer, run_layer
from .rewards import bytes_kept

DEPTHS = (0.25, 0.5, 0.75)  # fine structure is in the first half of an encoder; its last layers say what is shown
INSTEAD = "Load a CLIP, SigLIP or DINOv2 with Load CLIP Vision."


class VisionFeatures:
    """Images to one map for each of three layers, a quarter, a half and three quarters of the way through; differentiable.

    Args:
        clip_vision: ComfyUI's CLIP_VISION.

    Raises:
        ValueError: for another kind of encoder.
    """

    def __init__(self, clip_vision: Any) -> None:
        self.clip_vision = clip_vision
        model = getattr(clip_vision, "model", None)
        if isinstance(model, comfy.image_encoders.dino2.Dinov2Model) and model.rope is None:
            self._begin, self._layers, self._run = model.embeddings, model.encoder.layer, _dino_layer
        elif isinstance(model, comfy.clip_model.CLIPVisionModelProjection) and clip_vision.model_type != "siglip2_vision_model":
            vision = model.vision_model
            self._begin = lambda pixels: vision.pre_layrnorm(vision.embeddings(pixels))
            self._layers, self._run = vision.encoder.layers, clip_layer
        else:
            kind = getattr(clip_vision, "model_type", type(clip_vision).__name__)
            raise ValueError(f"Textures cannot be taken from this CLIP_VISION ({kind}). {INSTEAD}")
        self.wanted = sorted({max(1, round(depth * len(self._layers))) for depth in DEPTHS})
        self._bytes_per_image = bytes_kept({"patch_size": 14, "image_size": self.side, **clip_vision.config}, True)

    @property
    def side(self) -> int:
        """Of the squares that the encoder sees, in pixels."""
        return int(self.clip_vision.image_size)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """``(B, C, rows, columns)`` float32 of each layer, for square images ``(B, 3, s, s)`` in [0, 1] of any size, on their device."""
        with_grad = images.requires_grad and torch.is_grad_enabled()
        patcher = self.clip_vision.patcher
        memory.load_own([patcher], self._bytes_per_image * len(images) if with_grad else 0.0)
        with gradients() if with_grad else torch.no_grad():
            pixels = resize(images.to(patcher.load_device, torch.float32), (self.side, self.side))
            mean, std = (pixels.new_tensor(each)[:, None, None] for each in (self.clip_vision.image_mean, self.clip_vision.image_std))
            return [_as_map(each).to(images.device) for each in self._hidden((pixels - mean) / std)]

    def _hidden(self, pixels: Tensor) -> list[Tensor]:
        x, found = self._begin(pixels), []
        for number, layer in enumerate(self._layers[: self.wanted[-1]], start=1):
            x = run_layer(self._run, layer, x)
            if number in self.wanted:
                found.append(x)
        return found


def _dino_layer(layer: Any, x: Tensor) -> Tensor:
    return layer(x, comfy.ldm.modules.attention.attention_pytorch)


def _as_map(tokens: Tensor) -> Tensor:
    """``(B, C, side, side)`` of ``(B, n, C)``, a token for the whole image left out where there is one before the patches."""
    side = int(tokens.shape[1] ** 0.5)
    patches = tokens[:, tokens.shape[1] - side * side :]
    return patches.transpose(1, 2).unflatten(2, (side, side)).float()
