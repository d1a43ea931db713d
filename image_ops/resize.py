"""Antialiased resizing and windows, with gradients that are the same bits each time.

On a CPU this is torch's ``interpolate``. Elsewhere it is a product with a matrix per axis, of the same weights: on CUDA the backward passes
of antialiased ``interpolate`` and of ``grid_sample`` add in no fixed order, and not every device has an antialiased kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Kernel = Literal["bilinear", "bicubic"]


def resize(images: Tensor, size: tuple[int, int], kernel: Kernel = "bilinear") -> Tensor:
    """Resize ``(B, C, H, W)`` to ``(B, C, *size)``, equal to ``interpolate(mode=kernel, antialias=True)`` within 1e-6."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    # On a CPU ``interpolate`` takes no half precision, and gives wrong numbers where the result is one pixel wide (PyTorch 2.13).
    if images.device.type == "cpu" and images.dtype.itemsize >= 4 and size[1] > 1:
        return functional.interpolate(images, size, mode=kernel, antialias=True)
    return resize_by_products(images, size, kernel)


def resize_by_products(images: Tensor, size: tuple[int, int], kernel: Kernel = "bilinear") -> Tensor:
    """``resize`` where the backward pass of ``interpolate`` is missing or not deterministic."""
    start = images.new_zeros((), dtype=torch.promote_types(images.dtype, torch.float32))  # half precision has no places between pixels
    for axis in (-1, -2):
        length, to = images.shape[axis], size[axis]
        if length != to:
            matrix = resample_matrix(length, to, start, start + length, kernel).to(images.dtype)
            images = images @ matrix.T if axis == -1 else matrix @ images
    return images


def fit_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return the (height, width) that keeps the aspect ratio of ``size`` and has ``longest`` as its longer side (both >= 1)."""
    scale = longest / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shrink(images: Tensor, longest: int) -> Tensor:
    """Return the images ``(B, C, H, W)`` with the longer side brought down to ``longest``; smaller images as they are."""
    size = (images.shape[-2], images.shape[-1])
    return images if max(size) <= longest else resize(images, fit_size(size, longest))


def sample_window(images: Tensor, windows: Tensor, size: tuple[int, int], kernel: Kernel = "bilinear") -> Tensor:
    """Enlarge or shrink an axis-aligned window of each image to ``size``, antialiased.

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
    return down @ images @ across.mT


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


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def cubic(distance: Tensor, a: float = -0.5) -> Tensor:
    """Keys' cubic convolution kernel (1981); its free parameter is -0.5 in Pillow and antialiased ``interpolate``, -0.75 in OpenCV."""
    x = distance.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": _triangle, "bicubic": cubic}
