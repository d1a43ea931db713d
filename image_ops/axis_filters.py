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

from .resize import cubic

AxisMatrix = Callable[[int, int, Tensor], Tensor]
"""``(length, to, like) -> (to, length)``: the weights of each old pixel in each new one, dtype and device of ``like``."""


def apply_matrices(
    images: Tensor, size: tuple[int, int], matrix: AxisMatrix, clip: bool = False, axes: tuple[int, int] = (-1, -2)
) -> Tensor:
    """Resize (..., H, W) to (..., *size).

    Args:
        images: floating point.
        size: (height, width), at least 1 each.
        matrix: the filter.
        clip: cut to [0, 1] after each axis, as a program does that stores bytes in between. A filter with negative lobes needs it.
        axes: their order; the width first (-1, -2), or the height.
    """
    for axis in axes:
        if size[axis] != images.shape[axis]:
            weights = matrix(images.shape[axis], size[axis], images)
            images = images @ weights.mT if axis == -1 else weights @ images
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


def opencv_cubic_matrix(length: int, to: int, like: Tensor) -> Tensor:
    """Keys' kernel with the parameter -0.75, the border repeated, no antialiasing: OpenCV's ``INTER_CUBIC``."""
    centers = (torch.arange(to, device=like.device, dtype=like.dtype) + 0.5) * (length / to) - 0.5
    first = centers.floor()
    matrix = like.new_zeros(to, length)
    for tap in range(-1, 3):
        index = (first + tap).long().clamp(0, length - 1)
        # One tap at a time, so no row is written twice in one call.
        matrix[torch.arange(to, device=like.device), index] += cubic(centers - first - tap, -0.75)
    return matrix


def opencv_smooth(images: Tensor) -> Tensor:
    """Blur (..., H, W) by 1 4 6 4 1 / 16, the border mirrored: OpenCV's ``GaussianBlur`` of bytes with 5 x 5 pixels and sigma 0."""
    height, width = images.shape[-2:]
    return _smoothing_matrix(height, images) @ images @ _smoothing_matrix(width, images).mT


def _smoothing_matrix(length: int, like: Tensor) -> Tensor:
    matrix = like.new_zeros(length, length)
    rows = torch.arange(length, device=like.device)
    for offset, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        place = (rows + offset) % max(1, 2 * (length - 1))  # once there and back
        matrix[rows, torch.minimum(place, 2 * (length - 1) - place)] += weight / 16
    return matrix


def lanczos_matrix(length: int, to: int, like: Tensor) -> Tensor:
    """Lanczos filter with three lobes, widened when shrinking, truncated at the border: Pillow's ``LANCZOS``."""
    distance = _distances(length, to, like) / max(length / to, 1.0)
    weights = torch.sinc(distance) * torch.sinc(distance / 3) * (distance.abs() < 3)
    return weights / weights.sum(1, keepdim=True)


def scikit_resize(images: Tensor, size: tuple[int, int], antialias: bool = True) -> Tensor:
    """Resize (B, C, H, W) as ``skimage.transform.resize(mode="constant")`` does since version 0.15; without antialiasing as before.

    Outside the image is black, which would darken the border; then each image is cut to its own range (``clip=True`` there).
    """
    low, high = images.amin(dim=(-3, -2, -1), keepdim=True), images.amax(dim=(-3, -2, -1), keepdim=True)
    resized = apply_matrices(images, size, _scikit_matrix if antialias else _scikit_plain_matrix)
    return torch.minimum(torch.maximum(resized, low), high)


def _scikit_matrix(length: int, to: int, like: Tensor) -> Tensor:
    """A Gaussian first when shrinking, of sigma (factor - 1) / 2 and cut at 4 sigma, then two taps."""
    linear = _scikit_plain_matrix(length, to, like)
    sigma = (length / to - 1) / 2
    if sigma <= 0:
        return linear
    places = torch.arange(length, device=like.device, dtype=like.dtype)
    radius = int(4 * sigma + 0.5)
    distance = (places[None, :] - places[:, None]).abs()
    gaussian = torch.exp(-(distance**2) / (2 * sigma**2)) * (distance <= radius)
    return linear @ (gaussian / sum(math.exp(-(i**2) / (2 * sigma**2)) for i in range(-radius, radius + 1)))


def _scikit_plain_matrix(length: int, to: int, like: Tensor) -> Tensor:
    """Two taps, black outside the image."""
    return (1 - _distances(length, to, like).abs()).clamp(min=0)
