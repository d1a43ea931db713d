"""The best images that a run makes on its way, of each image of its batch: noises of a search, and iterates.

All are compared by the objective without augmentations: losses of iterations are under other augmentations each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .score import Score

FEWER = "Image {image}: {count} were to be kept, and only {made} were made."
SEARCHED, ITERATE = "noise {number} of the search", "iteration {number}"


@dataclass(frozen=True)
class Kept:
    """One image that a run made.

    Attributes:
        origin: what made it, in words: a noise of the search, which count from 0, the given one, or an iteration.
        score: the objective's loss without augmentations, times -1; higher is better, may be NaN.
        noise: ``(...)`` without batch dimension. latent: what the sampler made of it, likewise.
    """

    origin: str
    score: float
    noise: Tensor
    latent: Tensor


class TopK:
    """Keeps no more than ``count`` images of each of a batch, on the CPU. With a ``count`` of 1 it keeps none and asks nothing.

    Args:
        count: how many, the one that is returned among them.

    Raises:
        ValueError: for a ``count`` below 1.
    """

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise ValueError(f"top_k is {count}; it has to be at least 1.")
        self._count = count

    @property
    def asks(self) -> bool:
        """Whether it asks the objective about each iterate."""
        return self._count > 1

    def begin(self, noise: Tensor, score: Callable[[Tensor, int, int], Score]) -> None:
        """A run on a batch of ``noise (B, ...)`` begins.

        ``score`` asks the objective without augmentations about a latent ``(1, ...)``, given its index and the iteration.
        """
        self._score, self._dtype, self._has_searched = score, noise.dtype, False
        self._kept: list[list[Kept]] = [[] for _ in noise]
        self._scores: list[dict[str, float]] = [{} for _ in noise]

    def searched(self, number: int, noise: Tensor, latent: Tensor, wanted: Sequence[bool], scores: Sequence[Score] | None) -> None:
        """A noise of the search, ``(B, ...)``, made ``latent (B, ...)``. ``scores``: without augmentations, where they are known."""
        self._has_searched = True
        for index in self._asked(wanted):
            score = scores[index] if scores is not None else self._score(latent[index : index + 1], index, 0)
            self._add(index, SEARCHED.format(number=number), -score.loss, noise[index], latent[index])

    def iterate(self, iteration: int, noise: Tensor, latent: Tensor, wanted: Sequence[bool]) -> None:
        """An iterate ``noise (B, ...)`` made ``latent (B, ...)``; ``wanted``: of which images there is one that was not taken back.

        Iteration 0 behind a search is a noise of the search.
        """
        for index in self._asked(wanted) if iteration or not self._has_searched else ():
            # By the iteration's own number: asked by another, an objective would change what it keeps from one iteration to the next.
            score = self._score(latent[index : index + 1], index, iteration)
            self._add(index, ITERATE.format(number=iteration), -score.loss, noise[index], latent[index])

    def ranked(self, noises: Tensor, latents: Tensor, iterations: Sequence[int], started_from: Sequence[int]) -> list[list[Kept]]:
        """Of each image the one that is returned, then the best others by their scores.

        The first was chosen with more care than by one score, and is the same whatever ``count`` is.

        Args:
            noises, latents: that are returned, ``(B, ...)``.
            iterations: which iterate each is.
            started_from: which noise of a search each image's iteration 0 is.
        """
        found: list[list[Kept]] = []
        for index, iteration in enumerate(iterations if self.asks else ()):
            of_search = self._has_searched and iteration == 0
            origin = SEARCHED.format(number=started_from[index]) if of_search else ITERATE.format(number=iteration)
            score = self._scores[index].get(origin, math.nan)
            first = Kept(origin, score, self._noise(noises[index]), _copy(latents[index]))
            found.append([first, *(each for each in self._kept[index] if each.origin != origin)][: self._count])
        return found

    def messages(self) -> list[str]:
        """A sentence for each image of which fewer were made than were to be kept."""
        made = [len(scores) for scores in self._scores if self.asks]
        return [FEWER.format(image=image, count=self._count, made=own) for image, own in enumerate(made, start=1) if own < self._count]

    def _asked(self, wanted: Sequence[bool]) -> list[int]:
        return [index for index, own in enumerate(wanted) if own and self.asks]

    def _add(self, index: int, origin: str, score: float, noise: Tensor, latent: Tensor) -> None:
        """Keep a copy of an image if it is among the best so far. An iteration that was repeated made the same one once more."""
        self._scores[index][origin] = score
        kept = self._kept[index]
        if len(kept) < self._count or _key(score) < _key(kept[-1].score):
            made = Kept(origin, score, self._noise(noise), _copy(latent))
            if any(each.score == score and torch.equal(each.noise, made.noise) for each in kept):
                return
            self._kept[index] = sorted([*kept, made], key=lambda each: _key(each.score))[: self._count]

    def _noise(self, noise: Tensor) -> Tensor:
        return _copy(noise).to(self._dtype)


def _key(score: float) -> float:
    """Sorts the best first and those without a score last."""
    return -score if math.isfinite(score) else math.inf


def _copy(x: Tensor) -> Tensor:
    return x.detach().cpu().clone()
