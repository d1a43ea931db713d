"""Losses of the noise itself, which keep it looking like noise while an objective pulls at it.

Each is a frozen dataclass with its weight, called with ``noise (B, ...)`` and returning ``(B,)``, differentiable. The weight is applied by
the loop, which reports the unweighted value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..schema.ranged import Ranged, number
from .per_image import norms

_COARSEST = 8


class Regularizer(Protocol):
    """What the loop asks of a regularizer."""

    @property
    def weight(self) -> float:
        """Factor of its value in what is minimized."""

    def __call__(self, noise: Tensor) -> Tensor:
        """How unlike Gaussian noise each image of ``noise (B, ...)`` is, ``(B,)``."""


def penalty(regularizer: Regularizer | None, noise: Tensor) -> tuple[list[float], Tensor]:
    """A regularizer's value for each image of ``noise (B, ...)``, and its gradient times its weight. NaN and zeros without one."""
    if regularizer is None:
        return [math.nan] * len(noise), torch.zeros_like(noise)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = noise.clone().requires_grad_()
        values = regularizer(leaf)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return [float(value) for value in values.detach()], regularizer.weight * gradient


def total(losses: Sequence[float], regularizer: Regularizer | None, values: Sequence[float]) -> list[float]:
    """What is minimized: each image's loss plus its regularizer's value times the weight."""
    if regularizer is None:
        return list(losses)
    return [loss + regularizer.weight * value for loss, value in zip(losses, values, strict=True)]


@dataclass(frozen=True)
class NormLikelihood(Ranged):
    """Negative log-likelihood of the noise's norm r under white noise of d elements: r^2 / 2 - (d - 1) log r, less its minimum.

    Source: Samuel et al., "Norm-guided latent space exploration" (arXiv 2306.08687); ReNO (arXiv 2406.04312) adds it with weight 0.01.
    Only the norm is seen, so it has nothing to do where the noise is renormalized after each step.

    Raises:
        ValueError: for a weight that is not above 0.
    """

    weight: float = number(0.01, above=0, help="Weight of this loss.")

    def __call__(self, noise: Tensor) -> Tensor:
        """At least 0, and 0 where the norm is sqrt(d - 1). Infinite for an image of zeros with more tha one element."""
        freedom = noise[0].numel() - 1
        radius = norms(noise)
        lowest = 0.5 * freedom - 0.5 * freedom * math.log(freedom) if freedom > 0 else 0.0
        return 0.5 * radius**2 - freedom * radius.log() - lowest


@dataclass(frozen=True)
class WhiteNoise(Ranged):
    """No structure and unit variance: neighbors uncorrelated at every scale, and the values' mean and variance those of N(0, 1).

    Correlation as in StyleGAN2 (arXiv 1912.04958, appendix D) and pix2pix-zero (arXiv 2302.03027): at each level of an averaging
    pyramid, down to 8 elements, the mean product of each channel with itself rolled by one along each spatial dimension, squared. Values
    as in pix2pix-zero: the divergence KL(N(mean, variance) || N(0, 1)) of an image's elements.

    This project's own choice: both are in units of what white noise scores by chance. A squared correlation is multiplied by the number
    of its products, and averaged over channels, dimensions and levels; the divergence is multiplied by the number of elements. So white
    noise scores about 2 at any size (1 for each), and the weight means the same for 64 x 64 latents as for video.

    Spatial dimensions are those after the channel, in ``(B, C, ...)``; in ``(B, d)`` the only one. Those of size 1 are left out.

    Raises:
        ValueError: for a weight that is not above 0.
    """

    weight: float = number(0.001, above=0, help="Weight of this loss.")

    def __call__(self, noise: Tensor) -> Tensor:
        """At least 0; about 2 for white noise."""
        return _correlation(noise) + _divergence(noise)


def _divergence(noise: Tensor) -> Tensor:
    flat = noise.flatten(1)
    variance, mean = torch.var_mean(flat, dim=1, correction=0)
    return 0.5 * flat.shape[1] * (variance + mean**2 - 1 - variance.log())


def _correlation(noise: Tensor) -> Tensor:
    level = noise if noise.ndim > 2 else noise.unsqueeze(1)
    scores: list[Tensor] = []
    while True:
        dimensions = [dim for dim in range(2, level.ndim) if level.shape[dim] > 1]
        for dim in dimensions:
            products = (level * level.roll(1, dim)).flatten(2)
            scores.append((products.mean(dim=2) ** 2 * products.shape[2]).mean(dim=1))
        coarse = [dim for dim in dimensions if level.shape[dim] >= 2 * _COARSEST]
        if not coarse:
            break
        for dim in coarse:
            level = _halve(level, dim)
    return torch.stack(scores).mean(dim=0) if scores else noise.new_zeros(len(noise))


def _halve(x: Tensor, dim: int) -> Tensor:
    """Sum of neighbors along one dimension over sqrt(2): half the size, the variance of white noise stays 1. An odd last is dropped."""
    half = x.shape[dim] // 2
    pairs = x.narrow(dim, 0, 2 * half).reshape(*x.shape[:dim], half, 2, *x.shape[dim + 1 :])
    return pairs.sum(dim=dim + 1) / 2**0.5


REGULARIZERS: dict[str, type[Regularizer]] = {"white noise": WhiteNoise, "norm": NormLikelihood}
