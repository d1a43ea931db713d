"""Resizing, windows and blurring as matrix products along height and width.

Products with a matrix per axis work for every size and dtype, are differentiable in the pixels and in the window, and give the same
bits each time; the backward passes of ``interpolate`` (antialiased) and ``grid_sample`` on CUDA do not. The weights are Pillow's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Kernel = Literal["bilinear", "bicubic"]


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor, a: float = -0.5) -> Tensor:
    """Keys' cubic convolution kernel (1981) with the free parameter -0.5, as Pillow and antialiased ``interpolate`` have it."""
    x = distance.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": _triangle, "bicubic": _cubic}


def resample_matrix(length: int, to: int, start: Tensor, stop: Tensor, kernel: Kernel) -> Tensor:
    """Weights that sample ``to`` pixels from the window [start, stop] of a line of ``length`` pixels.

    Pixel ``i`` of a line covers [i, i + 1]. When the window is shrunk the kernel is widened (antialiasing); rows sum to one, so that
    the border neither darkens nor brightens.

    Args:
        length, to: pixels of the line and of the result, at least 1.
        start, stop: ``(...)`` window edges in pixels, 0 <= start < stop <= length; the matrix is differentiable in both.
        kernel: ``"bilinear"`` or ``"bicubic"``.

    Returns:
        ``(..., to, length)``.
    """
    scale = (stop - start)[..., None] / to
    steps = torch.arange(to, device=start.device, dtype=start.dtype) + 0.5
    places = torch.arange(length, device=start.device, dtype=start.dtype) + 0.5
    centers = start[..., None] + steps * scale
    weights = _KERNELS[kernel]((places - centers[..., None]) / scale.clamp(min=1)[..., None])
    return weights / weights.sum(-1, keepdim=True)


def resize(images: Tensor, size: tuple[int, int], kernel: Kernel = "bilinear") -> Tensor:
    """Resize ``(..., H, W)`` to ``(..., *size)`` with antialiasing, first along the width as Pillow does."""
    images = resize_axis(images, size[1], kernel, -1)
    return resize_axis(images, size[0], kernel, -2)


def resize_axis(images: Tensor, to: int, kernel: Kernel, axis: int) -> Tensor:
    """Resize ``(..., H, W)`` along its width (axis -1) or its height (axis -2); a line of the right length stays as it is."""
    length = images.shape[axis]
    if length == to:
        return images
    start = images.new_zeros(())
    matrix = resample_matrix(length, to, start, start + length, kernel)
    return images @ matrix.T if axis == -1 else matrix @ images


def sample_window(images: Tensor, windows: Tensor, size: tuple[int, int], kernel: Kernel = "bilinear") -> Tensor:
    """Enlarge or shrink an axis-aligned window of each image to ``size``.

    Args:
        images: ``(B, C, H, W)``.
        windows: ``(4,)`` for all images or ``(B, 4)``: top, left, bottom, right in pixels, inside the image. The result is
            differentiable in them.
        size: height and width of the result.

    Returns:
        ``(B, C, *size)``.
    """
    top, left, bottom, right = windows.to(images).unbind(-1)
    down = resample_matrix(images.shape[-2], size[0], top, bottom, kernel)
    across = resample_matrix(images.shape[-1], size[1], left, right, kernel)
    if windows.ndim == 2:
        down, across = down[:, None], across[:, None]
    return down @ images @ across.transpose(-1, -2)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Blur ``(..., H, W)`` by a Gaussian of ``sigma`` pixels (> 0) whose weights are renormalized at the border."""
    for axis in (-1, -2):
        places = torch.arange(images.shape[axis], device=images.device, dtype=images.dtype)
        weights = torch.exp(-((places[None, :] - places[:, None]) ** 2) / (2 * sigma * sigma))
        weights = weights / weights.sum(1, keepdim=True)
        images = images @ weights.T if axis == -1 else weights @ images
    return images
