"""The augmentations of an image that are scored: the whole of it, random augmentations of it, or random cutouts.

An optimizer finds images that please an encoder without showing what was asked for. Scoring several random augmentations makes that harder.
All draws come from one generator on the CPU, and all images of a batch share them, so that what happens to an image does not depend
on which others are in its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..image_ops.resize import sample_window
from ..schema.ranged import Ranged, choice, count, flag, number


@dataclass(frozen=True)
class Augmentations(Ranged):
    """Makes the augmentations of images: ``"whole"``: the image alone. ``"augmented"``: the image and ``count`` random zooms of it with
    other light and color. ``"cutouts"``: ``count`` random squares and not the image itself, as in DOODL (16, with a cut power of 0.3).

    Raises:
        ValueError: for a value outside its field's range.
    """

    kind: str = choice(
        "augmented",
        ("whole", "augmented", "cutouts"),
        help="What the reward sees: the whole image; the image and random zooms of it in other light; or random square cutouts, as in "
        "DOODL. More of them make it harder to please the reward without showing what was asked for.",
    )
    count: int = count(
        4,
        at_least=1,
        help="Number of random augmentations (DOODL: 16). Each costs a pass of the reward, and one more for the salient part.",
    )
    cut_power: float = number(0.3, at_least=0, help="Cutouts: the lower, the more of them are large (DOODL: 0.3).")
    smallest_zoom: float = number(0.8, above=0, at_most=1, help="Augmented: at least this part of the width and of the height is shown.")
    color_jitter: float = number(0.1, at_least=0, below=1, help="Augmented: how far light, contrast and color vary.")
    flip: bool = flag(False, help="Augmented: images may be mirrored. Leave it off where the prompt speaks of left and right.")

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
        light, contrast, color = (1 + self.color_jitter * (2 * draw - 1) for draw in draws[3:6])
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
