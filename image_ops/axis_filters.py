"""The resizing of the programs that the learned predictors were published with, as differentiable matrix products.

A predictor sees what it was trained on only when images are resized as its authors did it, and each used another library.
All of these filters are separable, so that each is one small matrix per axis: any size and dtype, batched, exact gradients, and
the same bits each time on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

AxisMatrix = Callable[[int, int, Tensor], Tensor]
"""``(length, to, like) -> (to, length)``: the weights of each old pixel in each new one, dtype and device of ``like``."""


def apply_matrices(images: Tensor, size: tuple[int, int], matrix: AxisMatrix, clip: bool = False) -> Tensor:
    """Resize (..., H, W) to (..., *size), width first.

    Args:
        images: floating point.
        size: (height, width), at least 1 each.
        matrix: the filter.
        clip: cut to [0, 1] after each axis, as a program does that stores bytes in between. A filter with negative lobes needs it.
    """
    if size[1] != images.shape[-1]:
        images = images @ matrix(images.shape[-1], size[1], images).mT
        images = images.clamp(0, 1) if clip else images
    if size[0] != images.shape[-2]:
        images = matrix(images.shape[-2], size[0], images) @ images
        images = images.clamp(0, 1) if clip else images
    return images


def _distances(length: int, to: int, like: Tensor) -> Tensor:
    """(to, length) signed distances, in old pixels, from each new pixel's center to each old one's."""
    centers = (torch.arange(to, device=like.device, dtype=like.dtype) + 0.5) * (length / to)
    places = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    return places[None, :] - centers[:, None]


def bilinear_matrix(length: int, to: int, like: Tensor) -> Tensor:
    """Two taps, the border repeated, no antialiasing: OpenCV's ``INTER_LINEAR``, ``interpolate(mode="bilinear")``."""
    centers = (torch.arange(to, device=like.device, dtype=like.dtype) + 0.5) * (length / to) - 0.5
    centers = centers.clamp(0, length - 1)
    places = torch.arange(length, device=like.device, dtype=like.dtype)
    return (1 - (places[None, :] - centers[:, None]).abs()).clamp(min=0)


def lanczos_matrix(length: int, to: int, like: Tensor) -> Tensor:
    """Lanczos filter with three lobes, widened when shrinking, truncated at the border: Pillow's ``LANCZOS``."""
    distance = _distances(length, to, like) / max(length / to, 1.0)
    weights = torch.sinc(distance) * torch.sinc(distance / 3) * (distance.abs() < 3)
    return weights / weights.sum(1, keepdim=True)


def scikit_matrix(length: int, to: int, like: Tensor) -> Tensor:
    """``skimage.transform.resize(mode="constant")`` as of 0.15: a Gaussian first when shrinking, then two taps.

    The Gaussian has sigma (factor - 1) / 2 and is cut at 4 sigma; outside the image is black, which darkens the border a little.
    """
    linear = scikit_plain_matrix(length, to, like)
    sigma = (length / to - 1) / 2
    if sigma <= 0:
        return linear
    places = torch.arange(length, device=like.device, dtype=like.dtype)
    radius = int(4 * sigma + 0.5)
    distance = (places[None, :] - places[:, None]).abs()
    gaussian = torch.exp(-(distance**2) / (2 * sigma**2)) * (distance <= radius)
    return linear @ (gaussian / sum(math.exp(-(i**2) / (2 * sigma**2)) for i in range(-radius, radius + 1)))


def scikit_plain_matrix(length: int, to: int, like: Tensor) -> Tensor:
    """``skimage.transform.resize(mode="constant", anti_aliasing=False)``: two taps, black outside the image."""
    return (1 - _distances(length, to, like).abs()).clamp(min=0)
