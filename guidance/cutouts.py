"""The views of a picture that are scored: the whole of it, random augmentations of it, or random cutouts.

An optimiser finds pictures that please an encoder without showing what was asked for. Scoring several random views makes that harder.
All draws come from one generator on the CPU, and all pictures of a batch share them, so that what happens to a picture does not depend
on which others are in its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .resampling import sample_window

Views = Literal["whole", "augmented", "cutouts"]
VIEWS: tuple[Views, ...] = ("whole", "augmented", "cutouts")


@dataclass(frozen=True)
class ViewSampler:
    """Makes the views of pictures.

    Attributes:
        views: ``"whole"``: the picture alone. ``"augmented"``: the picture and ``count`` random zooms of it with other light and colour.
            ``"cutouts"``: ``count`` random squares and not the picture itself, as in DOODL.
        count: number of random views, at least 1.
        cut_power: exponent of a uniform number that places a cutout's side between the smallest and the largest (DOODL: 0.3, mostly
            large ones). 0 takes the largest always.
        smallest_zoom: an augmented view shows at least this part of the height and of the width, in (0, 1].
        jitter: brightness, contrast and saturation of augmented views are multiplied by 1 +- this, in [0, 1).
        flip: whether augmented views may be mirrored. Off, since a prompt may say "left of".
    """

    views: Views = "augmented"
    count: int = 4
    cut_power: float = 0.3
    smallest_zoom: float = 0.8
    jitter: float = 0.1
    flip: bool = False

    def __post_init__(self) -> None:
        if self.views not in VIEWS:
            raise ValueError(f"There are no views called {self.views!r}; choose one of {', '.join(VIEWS)}.")
        if self.count < 1:
            raise ValueError(f"The number of random views is {self.count}; it has to be at least 1. For none, choose the views 'whole'.")
        if not self.cut_power >= 0:
            raise ValueError(f"The cut power is {self.cut_power}; it has to be 0 or more (DOODL: 0.3).")
        if not 0 < self.smallest_zoom <= 1:
            raise ValueError(f"The smallest zoom is {self.smallest_zoom}; it has to be above 0 and at most 1.")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"The colour jitter is {self.jitter}; it has to be at least 0 and below 1.")

    def draw(self, height: int, width: int, cut_size: int, generator: torch.Generator | None) -> list[View]:
        """Decide on the views of pictures of this size. Without a generator there is one: the picture as it is.

        Args:
            cut_size: the side of a cutout is at least this, where the picture is large enough: the encoder's input size.
        """
        if self.views == "whole" or generator is None:
            return [View()]
        if self.views == "cutouts":
            return [self._cutout(height, width, cut_size, generator) for _ in range(self.count)]
        return [View(), *(self._augmented(height, width, generator) for _ in range(self.count))]

    def _cutout(self, height: int, width: int, cut_size: int, generator: torch.Generator) -> View:
        size, down, across = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        largest = min(height, width)
        smallest = min(largest, cut_size)
        side = smallest + int(size**self.cut_power * (largest - smallest))
        top, left = int(down * (height - side + 1)), int(across * (width - side + 1))
        return View((top, left, top + side, left + side), square=smallest)

    def _augmented(self, height: int, width: int, generator: torch.Generator) -> View:
        draws = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
        part = self.smallest_zoom + (1 - self.smallest_zoom) * draws[0]
        top, left = draws[1] * (1 - part) * height, draws[2] * (1 - part) * width
        light, contrast, colour = (1 + self.jitter * (2 * draw - 1) for draw in draws[3:6])
        window = (top, left, top + part * height, left + part * width)
        return View(window, light, contrast, colour, mirrored=self.flip and draws[6] < 0.5)


@dataclass(frozen=True)
class View:
    """One way to look at pictures: a window and a change of light and colour. The default is the picture as it is.

    Attributes:
        window: top, left, bottom, right in pixels; ``None`` is the whole picture.
        brightness, contrast, saturation: factors; 1 changes nothing.
        mirrored: left and right exchanged.
        square: the window is resampled to a square of this side; 0: to the size of the picture.
    """

    window: tuple[float, float, float, float] | None = None
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    mirrored: bool = False
    square: int = 0

    def __call__(self, pictures: Tensor) -> Tensor:
        """Show ``(B, 3, H, W)`` pictures in [0, 1] through this view: ``(B, 3, h, w)``, differentiable."""
        if self.window is not None:
            size = (self.square, self.square) if self.square else (pictures.shape[-2], pictures.shape[-1])
            pictures = sample_window(pictures, pictures.new_tensor(self.window), size)
        if self.brightness != 1:
            pictures = pictures * self.brightness
        if self.contrast != 1:
            mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
            pictures = mean + (pictures - mean) * self.contrast
        if self.saturation != 1:
            # Luma weights of ITU-R BT.601.
            grey = (pictures * pictures.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
            pictures = grey + (pictures - grey) * self.saturation
        return pictures.flip(-1) if self.mirrored else pictures
