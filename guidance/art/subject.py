"""Where the subject of an image is: the map that the artistic objectives weigh pixels by, its center of mass and its spread."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...image_ops.resize import resize
from ..objective import Context

Saliency = Callable[[Tensor], Tensor]


class Subject:
    """The map of each image's subject.

    Args:
        source: predicts maps ``(B, 1, H, W)`` in [0, 1] from images; or a fixed map ``(n, 1, h, w)`` or ``(n, h, w)`` of any size, n being
            1 or the size of the batch; or ``None``: every pixel counts alike.
        follows: whether the gradient also says how to move the subject. Otherwise its map is taken as given.

    Raises:
        ValueError: a fixed map of another shape, or one that is empty or not finite.
    """

    def __init__(self, source: Saliency | Tensor | None, *, follows: bool) -> None:
        self.source = _checked(source) if isinstance(source, Tensor) else source
        self.follows = follows and callable(self.source)

    @property
    def given(self) -> bool:
        """Whether somebody said where the subject is."""
        return self.source is not None

    def maps(self, images: Tensor, context: Context) -> Tensor:
        """``(B, 1, H, W)`` in [0, 1] for images ``(B, 3, H, W)``; ones where nobody said where the subject is."""
        size = (images.shape[-2], images.shape[-1])
        if self.source is None:
            return torch.ones_like(images[:, :1])
        if isinstance(self.source, Tensor):
            rows = context.choose(len(self.source), len(images), "masks")
            return resize(self.source[rows].to(images), size).clamp(0, 1)
        maps = self.source(images if self.follows else images.detach())
        if maps.shape != (len(images), 1, *size):
            raise ValueError(f"The saliency model gave maps of the shape {tuple(maps.shape)} for images of {tuple(images.shape)}.")
        return maps.to(images) if self.follows else maps.detach().to(images)


def check_images(images: Tensor) -> Tensor:
    """The images, at least in float32. Raises ``ValueError`` for another shape than ``(B, 3, H, W)``."""
    if images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0:
        raise ValueError(f"The images have the shape {tuple(images.shape)}; (B, 3, H, W) is expected.")
    return images.to(torch.promote_types(images.dtype, torch.float32))


def mass_of(maps: Tensor, focus: float = 1.0) -> Tensor:
    """``map ** focus`` scaled to sum to one: ``(B, H, W)`` from ``(B, 1, H, W)`` >= 0. A flat map, of zeros too, is spread evenly."""
    maps = maps[:, 0].clamp(min=0)
    peak = maps.detach().amax(dim=(1, 2), keepdim=True)
    mass = (maps / torch.where(peak > 0, peak, torch.ones_like(peak))) ** focus + 1e-6
    return mass / mass.sum(dim=(1, 2), keepdim=True)


def moments(mass: Tensor) -> tuple[Tensor, Tensor]:
    """Center of mass and spread of masses ``(B, H, W)`` that sum to one.

    Returns:
        ``(B, 2)`` x and y in [0, 1] from the upper left corner, and ``(B, 2)`` their standard deviations. A pixel's mass is spread over the
        pixel, so that a filled box of width w has the deviation w / sqrt(12) at any resolution.
    """
    both = [_line_moments(mass.sum(axis)) for axis in (1, 2)]  # summed over rows: along x
    return torch.stack([mean for mean, _ in both], dim=1), torch.stack([spread for _, spread in both], dim=1)


def edges(center: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Left and top, right and bottom of the box with this center of mass and spread: ``(B, 2)`` each."""
    half = math.sqrt(3) * spread
    return center - half, center + half


def _line_moments(mass: Tensor) -> tuple[Tensor, Tensor]:
    count = mass.shape[1]
    places = (torch.arange(count, device=mass.device, dtype=mass.dtype) + 0.5) / count
    mean = (mass * places).sum(1)
    variance = (mass * (places - mean[:, None]) ** 2).sum(1) + 1 / (12 * count * count)
    return mean, variance.sqrt()


def _checked(mask: Tensor) -> Tensor:
    if mask.ndim == 3:
        mask = mask[:, None]
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.numel() == 0:
        raise ValueError(f"The mask has the shape {tuple(mask.shape)}; (n, 1, h, w) or (n, h, w) is expected, n being 1 or the batch size.")
    with torch.inference_mode(False):
        mask = mask.detach().clone()
    if not bool(torch.isfinite(mask).all()):
        raise ValueError("The mask holds NaN or infinite values. Look at the node that made it.")
    if not bool((mask > 0).flatten(1).any(1).all()):
        raise ValueError("A mask is empty: nothing in it is above zero, so there is no subject. Paint where the subject is.")
    return mask
