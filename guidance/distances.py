"""Distances between unit vectors, and a hinge, smooth everywhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def squared_great_circle(first: Tensor, second: Tensor) -> Tensor:
    """``2 * arcsin(|u - v| / 2) ** 2``, half the squared angle between unit vectors.

    The spherical distance of CLIP-guided diffusion, which DOODL's text guidance uses (arXiv 2303.13703, salesforce/DOODL).

    Args:
        first, second: ``(..., d)`` unit vectors.

    Returns:
        ``(...)`` in [0, pi^2 / 2]; the gradient is zero, not NaN, where the vectors are equal.
    """
    square = ((first - second) ** 2).sum(-1) / 4  # sin^2 of half the angle
    small = square < 1e-6
    # arcsin(sqrt(s))^2 = s + s^2 / 3 + O(s^3): the root has no derivative at 0, the series has. Just below 1 the arcsine has none.
    root = torch.where(small, torch.full_like(square, 0.25), square).clamp(max=1 - 1e-7).sqrt()
    return torch.where(small, 2 * square + 2 / 3 * square**2, 2 * torch.arcsin(root) ** 2)


def one_minus_cosine(first: Tensor, second: Tensor) -> Tensor:
    """``1 - u . v`` of unit vectors ``(..., d)``: ``(...)`` in [0, 2]."""
    return 1 - (first * second).sum(-1)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"great circle": squared_great_circle, "cosine": one_minus_cosine}


def smooth_hinge(gaps: Tensor, scale: float) -> Tensor:
    """``log(1 + sum_i exp(scale * gap_i)) / scale``: about the largest gap where one is above 0, and fading to 0 where none is.

    With gaps ``cos_i - cos`` of unwanted prompts and the wanted one, and CLIP's logit scale of 100, it is the softmax cross-entropy that
    CLIP is trained with, of the wanted prompt against the unwanted ones, brought back to units of cosine. It fades out once the wanted
    prompt wins, so that the optimizer is not rewarded for running away from the unwanted ones.

    Args:
        gaps: ``(..., m)``, m >= 1.
        scale: sharpness, > 0.

    Returns:
        ``(...)``, >= 0.
    """
    return torch.logsumexp(torch.cat([torch.zeros_like(gaps[..., :1]), scale * gaps], dim=-1), dim=-1) / scale
