"""From pictures to an encoder's pixel values, as the model's own image processor does it, but differentiable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from .resampling import Kernel, resize_axis

_PILLOW_KERNELS: dict[int, Kernel] = {2: "bilinear", 3: "bicubic"}
_PILLOW_NAMES = {0: "nearest", 1: "lanczos", 4: "box", 5: "hamming"}

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """What an image processor of transformers does to a picture, in its order: resize, crop, rescale, normalise.

    Attributes:
        resize: ``"shortest"``: the shorter side becomes ``size[0]``, keeping the aspect ratio. ``"exact"``: the picture becomes
            ``size``, whatever its aspect ratio. ``"none"``.
        size: height and width.
        crop: height and width of the central crop, or ``None``. A picture that is smaller is surrounded with black.
        kernel: interpolation; always antialiased, as Pillow's is.
        factor: multiplies values in [0, 1] before they are normalised; 1 for all common models.
        mean, std: per channel.
    """

    resize: Literal["shortest", "exact", "none"] = "shortest"
    size: tuple[int, int] = (224, 224)
    crop: tuple[int, int] | None = (224, 224)
    kernel: Kernel = "bicubic"
    factor: float = 1.0
    mean: tuple[float, ...] = OPENAI_MEAN
    std: tuple[float, ...] = OPENAI_STD

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Read a ``preprocessor_config.json``. What it leaves out is CLIP's default, or SigLIP's where it names SigLIP's processor.

        Raises:
            ValueError: for an interpolation or a way of resizing that this class does not have.
        """
        siglip = "siglip" in str(config.get("image_processor_type") or config.get("feature_extractor_type") or "").lower()
        crop = None
        if config.get("do_center_crop", not siglip):
            crop = _height_and_width(config.get("crop_size", 224), "crop_size")
        resize, size = _resizing(config, siglip)
        kernel = _PILLOW_KERNELS.get(int(config.get("resample", 3)))
        if kernel is None:
            name = _PILLOW_NAMES.get(int(config["resample"]), str(config["resample"]))
            raise ValueError(f"The image processor resizes with {name} interpolation; bilinear (2) and bicubic (3) are supported.")
        factor = 255.0 * (config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0)
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if config.get("do_normalize", True):
            mean = tuple(config.get("image_mean") or ((0.5,) * 3 if siglip else OPENAI_MEAN))
            std = tuple(config.get("image_std") or ((0.5,) * 3 if siglip else OPENAI_STD))
        if len(mean) != 3 or len(std) != 3 or not all(std):
            raise ValueError(f"The image processor's mean {mean} and deviation {std} have to be three numbers each, no deviation zero.")
        return cls(resize, size, crop, kernel, factor, mean, std)

    @property
    def output_size(self) -> tuple[int, int] | None:
        """Height and width of the pixel values, or ``None`` where they depend on the picture."""
        return self.crop or (self.size if self.resize == "exact" else None)

    def __call__(self, pictures: Tensor, eight_bit: bool = False) -> Tensor:
        """Turn ``(B, 3, H, W)`` pictures in [0, 1] into pixel values ``(B, 3, h, w)``; differentiable.

        Image processors work on 8-bit pictures and round after resizing along each axis. That has no useful derivative, so it is left
        out, and a value may differ from theirs by about one 8-bit level (1/255 divided by ``std``). ``eight_bit=True`` rounds as they
        do, for evaluation; the gradient then passes straight through the rounding.
        """
        finish = _to_eight_bit if eight_bit else _clamp
        pictures = finish(pictures)
        height, width = self._resized(pictures.shape[-2], pictures.shape[-1])
        # Bicubic weights overshoot; 8-bit pictures cannot, neither after the first axis nor after the second.
        if width != pictures.shape[-1]:
            pictures = finish(resize_axis(pictures, width, self.kernel, -1))
        if height != pictures.shape[-2]:
            pictures = finish(resize_axis(pictures, height, self.kernel, -2))
        if self.crop is not None:
            pictures = _centre(pictures, *self.crop)
        mean, std = (pictures.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return (pictures * self.factor - mean) / std

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.resize == "none":
            return height, width
        if self.resize == "exact":
            return self.size
        short = self.size[0]
        # Integer products first: the processors cut off, they do not round.
        return (short, max(1, int(short * width / height))) if height <= width else (max(1, int(short * height / width)), short)


def _clamp(pictures: Tensor) -> Tensor:
    return pictures.clamp(0, 1)


def _to_eight_bit(pictures: Tensor) -> Tensor:
    exact = pictures.clamp(0, 1)
    levels = torch.floor(exact.detach() * 255 + 0.5)  # halves go up, as Pillow has it
    return exact + (levels / 255 - exact.detach())


def _centre(pictures: Tensor, height: int, width: int) -> Tensor:
    have_height, have_width = pictures.shape[-2:]
    down, across = max(0, height - have_height), max(0, width - have_width)
    if down or across:
        pictures = functional.pad(pictures, (across // 2, across - across // 2, down // 2, down - down // 2))
    top, left = (pictures.shape[-2] - height) // 2, (pictures.shape[-1] - width) // 2
    return pictures[..., top : top + height, left : left + width]


def _resizing(config: Mapping[str, Any], siglip: bool) -> tuple[Literal["shortest", "exact", "none"], tuple[int, int]]:
    size = config.get("size", {"height": 224, "width": 224} if siglip else {"shortest_edge": 224})
    if not config.get("do_resize", True):
        return "none", (0, 0)
    if isinstance(size, Mapping) and "shortest_edge" in size and "longest_edge" not in size:
        short = int(size["shortest_edge"])
        return "shortest", (short, short)
    if isinstance(size, int) and not siglip:  # processors written before sizes had names
        return "shortest", (size, size)
    return "exact", _height_and_width(size, "size")


def _height_and_width(size: Any, name: str) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and "height" in size and "width" in size:
        return int(size["height"]), int(size["width"])
    raise ValueError(f"The image processor's {name} is {size!r}; a number, a shortest_edge, or a height and a width are supported.")
