"""From images to an encoder's pixel values, as the model's own image processor does it, but differentiable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional

from ..image_ops.resize import Kernel, fit_size, resize

_PILLOW_KERNELS: dict[int, Kernel] = {2: "bilinear", 3: "bicubic"}
_PILLOW_NAMES = {0: "nearest", 1: "lanczos", 4: "box", 5: "hamming"}
_OTHER_SIZES = ("max_num_patches", "crop_pct", "size_divisor", "pad_size", "do_pad")  # what other processors do to sizes

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """What an image processor of transformers does to an image, in its order: resize, crop, rescale, normalize.

    Attributes:
        resize: ``"shortest"``, ``"longest"``: that side becomes ``size[0]``, keeping the aspect ratio. ``"exact"``: the image
            becomes ``size``, whatever its aspect ratio. ``"none"``.
        size: height and width.
        crop: height and width of the central crop, or ``None``. An image that is smaller is surrounded with black.
        kernel: interpolation; always antialiased, as Pillow's is.
        factor: multiplies values in [0, 1] before they are normalized; 1 for all common models.
        mean, std: per channel.
        program: whose it is. ``"transformers"``: the longer side is cut off to whole pixels, and values to [0, 1] after each axis, since
            bytes are in between. ``"comfyui"`` (CLIP_VISION): the longer side is the nearest whole pixel, and values are cut once.
            ``"open_clip"``: tensors are resized, whose overshoot stays.
    """

    resize: Literal["shortest", "longest", "exact", "none"] = "shortest"
    size: tuple[int, int] = (224, 224)
    crop: tuple[int, int] | None = (224, 224)
    kernel: Kernel = "bicubic"
    factor: float = 1.0
    mean: tuple[float, ...] = OPENAI_MEAN
    std: tuple[float, ...] = OPENAI_STD
    program: Literal["transformers", "comfyui", "open_clip"] = "transformers"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Read a ``preprocessor_config.json``. What it leaves out is CLIP's default, or SigLIP's where it names SigLIP's processor.

        Raises:
            ValueError: for an interpolation or a way of resizing that this class does not have.
        """
        _refuse_other_sizes(config)
        name = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
        siglip = "siglip" in name.lower()
        crop = None
        if config.get("do_center_crop", not siglip):
            crop = _height_and_width(config.get("crop_size", 224), "crop_size")
        resize, size = _resizing(config, siglip)
        kernel = _PILLOW_KERNELS.get(int(config.get("resample", 3)))
        if kernel is None:
            asked = _PILLOW_NAMES.get(int(config["resample"]), str(config["resample"]))
            raise ValueError(f"The image processor resizes with {asked} interpolation; bilinear (2) and bicubic (3) are supported.")
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
        """Height and width of the pixel values, or ``None`` where they depend on the image."""
        return self.crop or (self.size if self.resize == "exact" else None)

    def __call__(self, images: Tensor) -> Tensor:
        """Turn ``(B, 3, H, W)`` images in [0, 1], others clamped, into pixel values ``(B, 3, h, w)``; differentiable.

        Image processors round to bytes after each axis, torchvision's and Pillow's each in its own way; here nothing is rounded. A value
        may differ from theirs by about one level, 1/255 divided by ``std`` (docs/guidance.md has the numbers).
        """
        size = self._resized(images.shape[-2], images.shape[-1])
        images = images.clamp(0, 1)
        if self.program == "transformers":
            images = resize(images, (images.shape[-2], size[1]), self.kernel).clamp(0, 1)  # bicubic weights overshoot
        images = resize(images, size, self.kernel)
        images = images if self.program == "open_clip" else images.clamp(0, 1)
        if self.crop is not None:
            images = _center(images, *self.crop)
        mean, std = (images.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return (images * self.factor - mean) / std

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.resize == "none":
            return height, width
        if self.resize == "exact":
            return self.size
        if self.resize == "longest":
            return fit_size((height, width), self.size[0])
        short = self.size[0]
        if self.program == "comfyui":
            scale = short / min(height, width)
            return round(scale * height), round(scale * width)
        # Integer products first: the processors cut off, they do not round.
        return (short, max(1, int(short * width / height))) if height <= width else (max(1, int(short * height / width)), short)


def _center(images: Tensor, height: int, width: int) -> Tensor:
    have_height, have_width = images.shape[-2:]
    down, across = max(0, height - have_height), max(0, width - have_width)
    if down or across:
        images = functional.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]


def _refuse_other_sizes(config: Mapping[str, Any]) -> None:
    found = [key for key in _OTHER_SIZES if config.get(key)]
    if "max_num_patches" in found or "siglip2" in str(config.get("image_processor_type", "")).lower():
        raise ValueError(
            "The image processor cuts images into patches in their own aspect ratio (SigLIP 2 NaFlex), but the model is of a fixed "
            "resolution: the folder mixes the files of two models. Download them again."
        )
    if found:
        raise ValueError(
            f"The image processor's {found[0]} is {config[found[0]]!r}; resizing and a central crop are all that is supported."
        )


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
