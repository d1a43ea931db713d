"""The noise under way: stepping it, image by image, and taking a step back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .per_image import spread
from .random_streams import Streams, draw_normal
from .renormalize import renormalize, target_norms
from .update_rules import UpdateRule


class Steps:
    """The noise ``(B, ...)`` of a batch, with what is needed to undo each image's last step and take a shorter one.

    Attributes:
        noise: where the images are.
        factors: for each image, the factor of its steps; 1 until a step fails.
    """

    def __init__(self, noise: Tensor, rule: UpdateRule, renormalization: str, streams: Sequence[Streams]) -> None:
        self.noise = noise
        self.factors = [1.0] * len(noise)
        self._rule = rule
        self._state = rule.start(noise)
        self._targets = target_norms(noise, renormalization)
        self._streams = streams
        self._origin = noise
        self._step = torch.zeros_like(noise)
        self._stepped = [False] * len(noise)

    def halve(self, index: int) -> None:
        """Halve all further steps of an image, and the last one if it is taken again."""
        self.factors[index] /= 2

    def put(self, index: int, noise: Tensor) -> None:
        """Place one image's noise."""
        self.noise = self.noise.clone()
        self.noise[index] = noise

    def move(self, gradient: Tensor, moving: Sequence[bool], retrying: Sequence[bool]) -> list[bool]:
        """Step the ``moving`` images; take the last step of the ``retrying`` ones again, at its new factor, from where it began.

        Returns which images changed: an image whose very first noise failed has no step to take again.
        """
        moves = spread(moving, self.noise)
        # Drawn for all, moving or not, so that no image's randomness depends on its own past failures.
        step, state = self._rule.step(torch.where(moves, gradient, 0), self._state, self._draw)
        self._state = {name: torch.where(spread(moving, new), new, self._state[name]) for name, new in state.items()}
        changed = [goes or (again and stepped) for goes, again, stepped in zip(moving, retrying, self._stepped, strict=True)]
        self._origin = torch.where(moves, self.noise, self._origin)
        self._step = torch.where(moves, step, self._step)
        self._stepped = [stepped or goes for stepped, goes in zip(self._stepped, moving, strict=True)]
        there = renormalize(self._origin + spread(self.factors, self.noise) * self._step, self._targets)
        self.noise = torch.where(spread(changed, self.noise), there, self.noise)
        return changed

    def _draw(self) -> Tensor:
        return draw_normal([streams.perturbations for streams in self._streams], self.noise)
