"""Shrinking images in the whole-number arithmetic of OpenCV and Pillow, bit for bit, with a gradient.

Learned predictors were published as programs that read image files: their networks were only ever shown bytes that OpenCV or Pillow had
resized and rounded. Whole numbers have no derivative, so the gradient passes straight through: it is that of resizing without rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from .axis_filters import apply_matrices, bilinear_matrix, lanczos_matrix

_PILLOW_BITS = 22  # of a weight after the point: src/libImaging/Resample.c
_OPENCV_BITS = 11  # of a weight after the point: modules/imgproc/src/resize.cpp


def opencv_linear(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (..., H, W) in [0, 1] to (..., *size) = levels k / 255, as OpenCV 4 and 5 resize bytes with ``INTER_LINEAR``.

    Weights have 11 bits. Sums along the width keep all of theirs; along the height, each of the two products is cut to 2 bits after the
    point before they are added and rounded. (Rounding exact sums instead gives another level in one of eight pixels.)
    """
    levels = _levels(images)
    lines = levels.int()
    if size != tuple(levels.shape[-2:]):
        near, far, weights = _taps(levels.shape[-1], size[1], levels.device, at_border=0.0)
        lines = lines[..., near] * weights[0] + lines[..., far] * weights[1]
        near, far, weights = _taps(levels.shape[-2], size[0], levels.device, at_border=None)
        lines = lines >> 4
        lines = ((lines[..., near, :] * weights[0][:, None]) >> 16) + ((lines[..., far, :] * weights[1][:, None]) >> 16)
        lines = (lines + 2) >> 2
    return _with_gradient(images, lines, lambda: apply_matrices(images.clamp(0, 1), size, bilinear_matrix))


def pillow_lanczos(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (..., H, W) in [0, 1] to (..., *size) = levels k / 255, as Pillow 13 resizes bytes with ``LANCZOS``.

    Weights have 22 bits, and the result of each axis is rounded. The width comes first, as always before Pillow 13, except where the
    height is shrunk by more than twice as many pixels as the width.
    """
    height, width = images.shape[-2:]
    height_first = height > size[0] and height - size[0] > 2 * (width - size[1])
    axes = (-2, -1) if height_first else (-1, -2)
    levels = _levels(images)
    lines = levels
    for axis in axes:
        if size[axis] != lines.shape[axis]:
            lines = _pillow_axis(lines, size[axis], axis)
    return _with_gradient(images, lines, lambda: apply_matrices(images.clamp(0, 1), size, lanczos_matrix, clip=True, axes=axes))


def _levels(images: Tensor) -> Tensor:
    """The nearest whole numbers 0 to 255, float32."""
    return (images.detach().float() * 255).add_(0.5).floor_().clamp_(0, 255)


def _with_gradient(images: Tensor, levels: Tensor, smooth: Callable[[], Tensor]) -> Tensor:
    exact = (levels / 255).to(images.dtype)
    if not images.requires_grad:
        return exact
    differentiable = smooth()
    return differentiable + (exact - differentiable.detach())


def _taps(length: int, to: int, device: torch.device, at_border: float | None) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Two old pixels for each new one, and their weights times 2^11.

    ``at_border``: the second one's weight where a place lies beyond the outer centers, or None: as everywhere, of one pixel twice.
    """
    places = ((torch.arange(to, dtype=torch.float64, device="cpu") + 0.5) * (1 / (to / length)) - 0.5).float()
    first = places.floor()
    second_weight = places - first
    if at_border is not None:
        second_weight = torch.where((first < 0) | (first >= length - 1), at_border, second_weight)
    weights = [(weight * (1 << _OPENCV_BITS)).round().int().to(device) for weight in (1 - second_weight, second_weight)]
    near, far = (index.clamp(0, length - 1).long().to(device) for index in (first, first + 1))
    return near, far, weights


def _pillow_axis(levels: Tensor, to: int, axis: int) -> Tensor:
    # A float32 product of bytes with 8 bits of the weights is exact, whatever the order of its sums and also in TF32.
    digits = _lanczos_digits(levels.shape[axis], to)
    matrix = digits.to(levels.device).float().flatten(0, 1)
    products = (levels @ matrix.T if axis == -1 else matrix @ levels).int().split(to, dim=axis)
    total = products[0] + (1 << (_PILLOW_BITS - 1))
    for place, part in enumerate(products[1:], start=1):
        total = total.add_(part << (8 * place))
    return (total >> _PILLOW_BITS).clamp_(0, 255).float()


@lru_cache(maxsize=16)
def _lanczos_digits(length: int, to: int) -> Tensor:
    """(n, to, length) digits in [-128, 127], lowest first: the sum of digit * 256^place is weight * 2^22."""
    with torch.inference_mode(False):
        scaled = lanczos_matrix(length, to, torch.zeros((), dtype=torch.float64, device="cpu")) * (1 << _PILLOW_BITS)
        rest = torch.trunc(scaled + 0.5 * torch.sign(scaled)).long()  # halves away from zero
        digits: list[Tensor] = []
        while not digits or bool(rest.any()):
            digits.append((rest + 128) % 256 - 128)
            rest = (rest - digits[-1]) // 256
        return torch.stack(digits).to(torch.int8)
