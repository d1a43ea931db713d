"""Resizing 8-bit images in the whole-number arithmetic of image processors, bit for bit, with a gradient.

torchvision (PyTorch) and Pillow resize bytes with weights that are whole numbers over a power of two, first along the width, then along
the height, and round to bytes after each. They differ in how finely they divide: Pillow's weights have 22 bits after the point
(``src/libImaging/Resample.c``), PyTorch's as many as let the largest fit into 16 bits (``aten/src/ATen/native/cpu/UpSampleKernel.cpp``).
From 13 on, Pillow goes along the height first where an image loses much more of its height than of its width; that is not followed.

Here the weights are cut into digits of 8 bits. A float32 product of bytes with one digit's matrix is exact, whatever the order of its sums
and also where a GPU multiplies in TF32; the digits are put together as int32. The result is the same on every device.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from .resampling import Kernel, resample_matrix, resize_axis

Arithmetic = Literal["torchvision", "pillow"]

_PILLOW_BITS = 22
_TORCH_LARGEST = 1 << 15


def to_eight_bit(images: Tensor) -> Tensor:
    """The nearest of the 256 levels k / 255 for values in [0, 1], others clamped; the gradient passes straight through the rounding."""
    inside = images.clamp(0, 1)
    levels = torch.floor(inside.detach() * 255 + 0.5)
    return inside + (levels / 255 - inside.detach())


def resize_eight_bit(images: Tensor, size: tuple[int, int], kernel: Kernel, arithmetic: Arithmetic = "torchvision") -> Tensor:
    """Resize ``(..., H, W)`` images in [0, 1], rounded to 8 bits, to levels k / 255 ``(..., *size)``, those of the named program.

    The gradient is that of resizing without rounding, clamped to [0, 1] after each axis.
    """
    levels = (images.detach().float() * 255).add_(0.5).floor_().clamp_(0, 255)
    not_a_number = 0 * levels.sum((-1, -2), keepdim=True)  # whole numbers have no NaN: it is put back at the end
    for axis in (-1, -2):
        if size[axis] != levels.shape[axis]:
            levels = _resized_levels(levels, size[axis], kernel, axis, arithmetic)
    exact = ((levels + not_a_number) / 255).to(images.dtype)
    if not images.requires_grad:
        return exact
    smooth = images.clamp(0, 1)
    for axis in (-1, -2):
        if size[axis] != smooth.shape[axis]:
            smooth = resize_axis(smooth, size[axis], kernel, axis).clamp(0, 1)
    return smooth + (exact - smooth.detach())


def _resized_levels(levels: Tensor, to: int, kernel: Kernel, axis: int, arithmetic: Arithmetic) -> Tensor:
    """Whole numbers 0 to 255 to such numbers, as float32."""
    digits, bits = _weight_digits(levels.shape[axis], to, kernel, arithmetic)
    matrix = digits.to(levels.device).float().flatten(0, 1)  # of all digits one below the other, so that one product does
    products = (levels @ matrix.T if axis == -1 else matrix @ levels).int().split(to, dim=axis)
    total = products[0] + (1 << (bits - 1))  # half of the divisor: the shift then rounds
    for place, part in enumerate(products[1:], start=1):
        total = total.add_(part << (8 * place))
    return (total >> bits).clamp_(0, 255).float()


@lru_cache(maxsize=16)
def _weight_digits(length: int, to: int, kernel: Kernel, arithmetic: Arithmetic) -> tuple[Tensor, int]:
    """``(n, to, length)`` digits in [-128, 127], lowest first, whose sum of digit * 256^place is weight * 2^bits; and the bits."""
    with torch.inference_mode(False):
        edge = torch.zeros((), dtype=torch.float64, device="cpu")
        weights = resample_matrix(length, to, edge, edge + length, kernel)
        bits = _PILLOW_BITS if arithmetic == "pillow" else _torch_bits(float(weights.max()))
        scaled = weights * (1 << bits)
        rest = torch.trunc(scaled + 0.5 * torch.sign(scaled)).long()  # halves away from zero
        digits: list[Tensor] = []
        while not digits or bool(rest.any()):
            digits.append((rest + 128) % 256 - 128)
            rest = (rest - digits[-1]) // 256
        return torch.stack(digits).to(torch.int8), bits


def _torch_bits(largest_weight: float) -> int:
    bits = 0
    while bits < _PILLOW_BITS and int(0.5 + largest_weight * (1 << (bits + 1))) < _TORCH_LARGEST:
        bits += 1
    return bits
