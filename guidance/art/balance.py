"""Balance and symmetry of the visual weight in an image."""

from __future__ import annotations

import torch
from kornia.color import rgb_to_grayscale
from torch import Tensor

from ...image_ops.resize import shrink

VISUAL_WEIGHTS = ("saliency", "darkness", "lightness")
SIDE = 64  # longer side of the copy whose symmetry is measured: mirrored objects need not match to the pixel
CONTRAST = 1e-4  # variance of lightness below which an image counts as of one lightness


def luma(images: Tensor) -> Tensor:
    """``(B, H, W)`` luma of ITU-R BT.601, as Pillow's gray images have it, cut to [0, 1]."""
    return rgb_to_grayscale(images.clamp(0, 1))[:, 0]


def visual_weight(images: Tensor, mass: Tensor, kind: str) -> Tensor:
    """Weights ``(B, H, W)`` that sum to one: the subject's mass, or how dark or light pixels are. An image without any is even."""
    if kind == "saliency":
        return mass
    weight = (1 - luma(images) if kind == "darkness" else luma(images)) + 1e-6
    return weight / weight.sum(dim=(1, 2), keepdim=True)


def center_deviation(weight: Tensor) -> Tensor:
    """Square of the DCM of Hübner and Fillinger (2016, i-Perception 7(3)) over 100: the distance of the center of weight from the middle,
    in relative coordinates, over 0.5.

    Args:
        weight: ``(B, H, W)``, sums to one.
    """
    height, width = weight.shape[-2:]
    x, y = ((torch.arange(n, device=weight.device, dtype=weight.dtype) + 0.5) / n - 0.5 for n in (width, height))
    return ((weight.sum(1) * x).sum(1) / 0.5) ** 2 + ((weight.sum(2) * y).sum(1) / 0.5) ** 2


def preference_for_balance(weight: Tensor) -> Tensor:
    """APB over 100: mean of eight differences, each between parts of equal area (Wilson and Chatterjee 2005, Empirical Studies of the
    Arts 23; the program by Hübner and Fillinger as in RBartho/Aesthetics-Toolbox, ``Balance``).

    For the vertical and horizontal axis and both diagonals: one half against the other, and the inner against the outer half.

    Args:
        weight: ``(B, H, W)``, sums to one.

    Returns:
        ``(B,)`` in [0, 1], 0 is balanced.
    """
    height, width = weight.shape[-2:]
    x, y = ((torch.arange(n, device=weight.device, dtype=weight.dtype) + 0.5) / n for n in (width, height))
    signs = []
    for at, size in ((x.expand(height, width), width), (y[:, None].expand(height, width), height)):
        # Which part of the pixel is beyond a border: a line through a pixel divides it.
        right = ((at - 0.5) * size + 0.5).clamp(0, 1)
        outer = ((0.25 - at) * size + 0.5).clamp(0, 1) + ((at - 0.75) * size + 0.5).clamp(0, 1)
        signs += [2 * right - 1, 1 - 2 * outer]
    for off in (x - y[:, None], 1 - x - y[:, None]):
        tiny = 1e-9  # on the diagonal itself: neither half
        signs += [torch.where(off.abs() < tiny, torch.zeros_like(off), off.sign()), 1 - 2 * (off.abs() > 1 - 0.5**0.5 - tiny).to(off)]
    differences = torch.stack([(weight * sign).sum(dim=(1, 2)) for sign in signs])
    return ((differences**2 + 1e-12).sqrt() - 1e-6).mean(0)


def mirror_asymmetry(images: Tensor, axis: int) -> Tensor:
    """1 - correlation of the lightness with its mirror image along an axis (-1: left and right): ``(B,)`` from 0 to 2.

    Unchanged by brightness and contrast. An image of one lightness is symmetric.
    """
    light = shrink(luma(images)[:, None], SIDE)[:, 0]
    light = light - light.mean(dim=(1, 2), keepdim=True)
    difference = ((light - light.flip(axis)) ** 2).mean(dim=(1, 2))
    return difference / (2 * (light**2).mean(dim=(1, 2)) + CONTRAST)
