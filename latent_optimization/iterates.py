"""The iterates that a run may return, image by image, and the choice among them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Iterate:
    """One image at one iteration: ``noise`` and ``latent`` without batch dimension, and the loss (NaN if it was not scored)."""

    iteration: int
    loss: float
    noise: Tensor
    latent: Tensor


class Iterates:
    """What one image has been through. Iterates whose loss is not finite are forgotten, but for the very first.

    Args:
        keep_all: keep every iterate (on the CPU: latents are small, videos' are not), not only the best and the last.
    """

    def __init__(self, *, keep_all: bool) -> None:
        self._keep_all = keep_all
        self._all: list[Iterate] = []
        self._first: Iterate | None = None
        self._best: Iterate | None = None
        self._last: Iterate | None = None

    def add(self, iteration: int, loss: float, noise: Tensor, latent: Tensor) -> None:
        """Note image's ``noise`` and ``latent``, both copied."""
        if self._first is not None and not math.isfinite(loss):
            return
        iterate = Iterate(iteration, loss, noise.detach().clone(), latent.detach().clone())
        self._first = self._first or iterate
        if not math.isfinite(loss):
            return
        self._last = iterate
        if self._best is None or loss < self._best.loss:
            self._best = iterate
        if self._keep_all:
            self._all.append(Iterate(iteration, loss, iterate.noise.cpu(), iterate.latent.cpu()))

    @property
    def best(self) -> Iterate:
        """Of the lowest loss, the earliest of equals; the first if none has a finite loss."""
        return self._best or self._only()

    @property
    def last(self) -> Iterate:
        """The last with a finite loss; the first if none has."""
        return self._last or self._only()

    def _only(self) -> Iterate:
        assert self._first is not None, "add comes first"
        return self._first

    def shortlist(self, count: int) -> list[Iterate]:
        """The last iterate and, up to ``count`` in all, those of the lowest losses, in order of iteration."""
        if not self._all:
            return [self._only()]
        *earlier, last = self._all
        lowest = sorted(earlier, key=lambda iterate: iterate.loss)[: count - 1]
        return sorted([*lowest, last], key=lambda iterate: iterate.iteration)

    def rescored(self, count: int, score: Callable[[Iterate], float]) -> Iterate:
        """The best of the shortlist by ``score``, the earliest of equals; best by loss where no score is finite."""
        scored = [(score(iterate), iterate) for iterate in self.shortlist(count)]
        fits = [(value, iterate) for value, iterate in scored if math.isfinite(value)]
        return min(fits, key=lambda pair: pair[0])[1] if fits else self.best


def gather(chosen: list[Iterate], noise: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen iterates' noises and latents as batches, of the dtype and device of ``noise`` and ``latent``."""
    noises = torch.stack([iterate.noise.to(noise.device) for iterate in chosen]).to(noise.dtype)
    latents = torch.stack([iterate.latent.to(latent.device) for iterate in chosen])
    return noises, latents
