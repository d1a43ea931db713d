"""Samplers and objectives small enough to know the answer of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def linear_sampler(scale: float = 2.0, shift: float = 0.25) -> Callable[[Tensor], Tensor]:
    """``scale * noise + shift``, element by element, so that a batch cannot change an image's rounding."""

    def generate(noise: Tensor) -> Tensor:
        return noise * scale + shift

    return generate


class Quadratic:
    """Mean squared distance to a target; with ``jitter``, to a target moved by noise from the image's generator."""

    def __init__(self, target: Tensor, jitter: float = 0.0) -> None:
        self.target = target
        self.jitter = jitter
        self.calls: list[tuple[int, int]] = []

    def __call__(self, latent: Tensor, index: int, iteration: int, generator: torch.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        self.calls.append((iteration, index))
        target = self.target[index : index + 1].to(latent)
        if self.jitter and generator is not None:
            target = target + self.jitter * torch.randn(target.shape, generator=generator).to(latent)
        losses = ((latent - target) ** 2).flatten(1).mean(dim=1)
        return losses, {"distance": losses.detach().sqrt()}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers of a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
