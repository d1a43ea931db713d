"""From images to an encoder's pixel values, as the model's own image processor does it, but differentiable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional

from .eight_bit import Arithmetic, resize_eight_bit, to_eight_bit
from .resampling import Kernel, resize_axis

_PILLOW_KERNELS: dict[int, Kernel] = {2: "bilinear", 3: "bicubic"}
_PILLOW_NAMES = {0: "nearest", 1: "lanczos", 4: "box", 5: "hamming"}

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """What an image processor of transformers does to an image, in its order: resize, crop, rescale, normalize.

    Attributes:
        resize: ``"shortest"``: the shorter side becomes ``size[0]``, keeping the aspect ratio. ``"exact"``: the image becomes
            ``size``, whatever its aspect ratio. ``"none"``.
        size: height and width.
        crop: height and width of the central crop, or ``None``. An image that is smaller is surrounded with black.
        kernel: interpolation; always antialiased, as Pillow's is.
        factor: multiplies values in [0, 1] before they are normalized; 1 for all common models.
        mean, std: per channel.
        arithmetic: whose bits ``eight_bit`` gives. ``"torchvision"``: the processors that transformers 5 takes by default, on a CPU.
            ``"pillow"``: those called ``...Pil``, and most of transformers 4. ``"comfyui"``: ComfyUI's CLIP_VISION, which rounds once, at
            the end, and sizes to the nearest pixel instead of cutting off.
    """

    resize: Literal["shortest", "exact", "none"] = "shortest"
    size: tuple[int, int] = (224, 224)
    crop: tuple[int, int] | None = (224, 224)
    kernel: Kernel = "bicubic"
    factor: float = 1.0
    mean: tuple[float, ...] = OPENAI_MEAN
    std: tuple[float, ...] = OPENAI_STD
    arithmetic: Arithmetic | Literal["comfyui"] = "torchvision"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Read a ``preprocessor_config.json``. What it leaves out is CLIP's default, or SigLIP's where it names SigLIP's processor.

        The arithmetic is torchvision's, whatever version of transformers is installed, or Pillow's where the processor's name ends so.

        Raises:
            ValueError: for an interpolation or a way of resizing that this class does not have.
        """
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
        return cls(resize, size, crop, kernel, factor, mean, std, "pillow" if name.endswith("Pil") else "torchvision")

    @property
    def output_size(self) -> tuple[int, int] | None:
        """Height and width of the pixel values, or ``None`` where they depend on the image."""
        return self.crop or (self.size if self.resize == "exact" else None)

    def __call__(self, images: Tensor, eight_bit: bool = True) -> Tensor:
        """Turn ``(B, 3, H, W)`` images in [0, 1] into pixel values ``(B, 3, h, w)``; differentiable.

        Image processors work on 8-bit images and round after resizing along each axis, so that scores are those of the processor
        itself only when this rounds too; images of other values are first rounded to 8 bits, as they would be saved. The gradient
        passes straight through the rounding. ``eight_bit=False`` leaves it out, for smooth values (finite differences); a value may then
        differ from the processor's by about one 8-bit level, 1/255 divided by ``std``.
        """
        size = self._resized(images.shape[-2], images.shape[-1])
        if eight_bit and self.arithmetic != "comfyui":
            images = resize_eight_bit(images, size, self.kernel, self.arithmetic)
        else:
            images = self._resize_smoothly(images, size)
        if self.crop is not None:
            images = _center(images, *self.crop)
        if eight_bit and self.arithmetic == "comfyui":
            images = to_eight_bit(images)
        mean, std = (images.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return (images * self.factor - mean) / std

    def _resize_smoothly(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        # Bicubic weights overshoot; 8-bit images cannot, neither after the first axis nor after the second. ComfyUI clamps once.
        images = images.clamp(0, 1)
        for axis in (-1, -2):
            images = resize_axis(images, size[axis], self.kernel, axis)
            images = images if self.arithmetic == "comfyui" and axis == -1 else images.clamp(0, 1)
        return images

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.resize == "none":
            return height, width
        if self.resize == "exact":
            return self.size
        short = self.size[0]
        if self.arithmetic == "comfyui":
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
