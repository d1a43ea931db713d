"""Images whose measures are known, and a saliency that is known: bright is salient."""

from __future__ import annotations

import torch
from torch import Tensor


def grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """x and y of the pixels' centers, in [0, 1]."""
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    return x.expand(height, width), y[:, None].expand(height, width)


def disc(x: float, y: float, radius: float = 0.1, size: tuple[int, int] = (60, 80)) -> Tensor:
    """A soft-edged white disc on black, ``(1, 3, H, W)``; the radius is a part of the height."""
    across, down = grid(*size)
    distance = (((across - x) * size[1] / size[0]) ** 2 + (down - y) ** 2).sqrt()
    return ((radius - distance) * size[0] + 0.5).clamp(0, 1).expand(1, 3, *size).clone()


def box(left: float, top: float, right: float, bottom: float, size: tuple[int, int] = (60, 80)) -> Tensor:
    """A white box on black whose edges fall between pixels."""
    x, y = grid(*size)
    return ((x > left) & (x < right) & (y > top) & (y < bottom)).double().expand(1, 3, *size).clone()


def bright(images: Tensor) -> Tensor:
    """A saliency model: bright is salient."""
    return images.mean(1, keepdim=True)


def noise(batch: int = 2, height: int = 12, width: int = 16, seed: int = 0) -> Tensor:
    """Random images away from 0 and 1, float64."""
    return 0.1 + 0.8 * torch.rand(batch, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
