"""The augmentations of an image that are scored: the whole of it, random augmentations of it, or random cutouts.

An optimizer finds images that please an encoder without showing what was asked for. Scoring several random augmentations makes that harder.
All draws come from one generator on the CPU, and all images of a batch share them, so that what happens to an image does not depend
on which others are in its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..image_ops.resize import sample_window

AugmentationKind = Literal["whole", "augmented", "cutouts"]
KINDS: tuple[AugmentationKind, ...] = ("whole", "augmented", "cutouts")


@dataclass(frozen=True)
class Augmentations:
    """Makes the augmentations of images.

    Attributes:
        kind: ``"whole"``: the image alone. ``"augmented"``: the image and ``count`` random zooms of it with other light and color.
            ``"cutouts"``: ``count`` random squares and not the image itself, as in DOODL.
        count: number of random augmentations, at least 1.
        cut_power: exponent of a uniform number that places a cutout's side between the smallest and the largest (DOODL: 0.3, mostly
            large ones). 0 takes the largest always.
        smallest_zoom: an augmentation shows at least this part of the height and of the width, in (0, 1].
        jitter: brightness, contrast and saturation of augmentations are multiplied by 1 +- this, in [0, 1).
        flip: whether augmentations may be mirrored. Off, since a prompt may say "left of".
    """

    kind: AugmentationKind = "augmented"
    count: int = 4
    cut_power: float = 0.3
    smallest_zoom: float = 0.8
    jitter: float = 0.1
    flip: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"There is no augmentation called {self.kind!r}; choose one of {', '.join(KINDS)}.")
        if self.count < 1:
            raise ValueError(f"The number of random augmentations is {self.count}; it has to be at least 1. For none, choose 'whole'.")
        if not self.cut_power >= 0:
            raise ValueError(f"The cut power is {self.cut_power}; it has to be 0 or more (DOODL: 0.3).")
        if not 0 < self.smallest_zoom <= 1:
            raise ValueError(f"The smallest zoom is {self.smallest_zoom}; it has to be above 0 and at most 1.")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"The color jitter is {self.jitter}; it has to be at least 0 and below 1.")

    def draw(self, height: int, width: int, cut_size: int, generator: torch.Generator | None) -> list[Augmentation]:
        """Decide on the augmentations of images of this size. Without a generator there is one: the image as it is.

        Args:
            cut_size: the side of a cutout is at least this, where the image is large enough: the encoder's input size.
        """
        if self.kind == "whole" or generator is None:
            return [Augmentation()]
        if self.kind == "cutouts":
            return [self._cutout(height, width, cut_size, generator) for _ in range(self.count)]
        return [Augmentation(), *(self._augmented(height, width, generator) for _ in range(self.count))]

    def _cutout(self, height: int, width: int, cut_size: int, generator: torch.Generator) -> Augmentation:
        size, down, across = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        largest = min(height, width)
        smallest = min(largest, cut_size)
        side = smallest + int(size**self.cut_power * (largest - smallest))
        top, left = int(down * (height - side + 1)), int(across * (width - side + 1))
        return Augmentation((top, left, top + side, left + side), square=smallest)

    def _augmented(self, height: int, width: int, generator: torch.Generator) -> Augmentation:
        draws = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
        part = self.smallest_zoom + (1 - self.smallest_zoom) * draws[0]
        top, left = draws[1] * (1 - part) * height, draws[2] * (1 - part) * width
        light, contrast, color = (1 + self.jitter * (2 * draw - 1) for draw in draws[3:6])
        window = (top, left, top + part * height, left + part * width)
        return Augmentation(window, light, contrast, color, mirrored=self.flip and draws[6] < 0.5)


@dataclass(frozen=True)
class Augmentation:
    """One way to look at images: a window and a change of light and color. The default is the image as it is.

    Attributes:
        window: top, left, bottom, right in pixels; ``None`` is the whole image.
        brightness, contrast, saturation: factors; 1 changes nothing.
        mirrored: left and right exchanged.
        square: the window is resampled to a square of this side; 0: to the size of the image.
    """

    window: tuple[float, float, float, float] | None = None
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    mirrored: bool = False
    square: int = 0

    def __call__(self, images: Tensor) -> Tensor:
        """Show ``(B, 3, H, W)`` images in [0, 1] through this augmentation: ``(B, 3, h, w)``, differentiable."""
        if self.window is not None:
            size = (self.square, self.square) if self.square else (images.shape[-2], images.shape[-1])
            images = sample_window(images, images.new_tensor(self.window), size)
        if self.brightness != 1:
            images = images * self.brightness
        if self.contrast != 1:
            mean = images.mean(dim=(1, 2, 3), keepdim=True)
            images = mean + (images - mean) * self.contrast
        if self.saturation != 1:
            # Luma weights of ITU-R BT.601.
            gray = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
            images = gray + (images - gray) * self.saturation
        return images.flip(-1) if self.mirrored else images
