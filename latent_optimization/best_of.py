"""Starting from the best of several noises: the cheapest optimization there is, and the baseline of every other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .per_image import spread
from .random_streams import draw_normal


def choose_start(
    noise: Tensor,
    count: int,
    generators: Sequence[torch.Generator],
    attempt: Callable[[int, Tensor], tuple[Tensor, list[float]]],
) -> tuple[Tensor, Tensor, list[float], list[int]]:
    """The noise of the lowest loss for each image, among the given ``noise (B, ...)`` and ``count - 1`` fresh standard normal ones.

    Args:
        noise: candidate 0.
        count: how many candidates in all, at least 1.
        generators: one for each image, CPU; candidates after the first are drawn from them in order.
        attempt: ``attempt(number, noise)`` samples a whole batch and returns its latents ``(B, ...)`` and losses; called ``count`` times.

    Returns:
        The chosen noise, its latents, its losses, and which candidate each image has. The earliest of equals; a loss that is not finite
        never wins over one that is.
    """
    best_noise = noise
    best_latent, best_losses = attempt(0, noise)
    chosen = [0] * len(noise)
    for number in range(1, count):
        candidate = draw_normal(generators, noise)
        latent, losses = attempt(number, candidate)
        better = [_rank(loss) < _rank(best) for loss, best in zip(losses, best_losses, strict=True)]
        best_noise = torch.where(spread(better, noise), candidate, best_noise)
        best_latent = torch.where(spread(better, latent), latent, best_latent)
        best_losses = [loss if wins else best for loss, best, wins in zip(losses, best_losses, better, strict=True)]
        chosen = [number if wins else before for wins, before in zip(better, chosen, strict=True)]
    return best_noise, best_latent, best_losses, chosen


def _rank(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
