"""The noise under way: stepping it, image by image, and taking a step back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .batch import Batch
from .per_image import spread
from .random_streams import Streams, draw_normal
from .renormalize import renormalize, target_norms
from .settings import Settings


class Steps:
    """The noise ``(B, ...)`` of a batch, with what is needed to undo each image's last step and take a shorter one.

    Attributes:
        noise: where the images are.
        factors: for each image, the factor of its steps; 1 until a step fails, and halved by each failure.
        changed: for each image, whether the last call of ``take`` changed it.
    """

    def __init__(self, noise: Tensor, settings: Settings, streams: Sequence[Streams]) -> None:
        self.noise = noise
        self.factors = [1.0] * len(noise)
        self.changed = [False] * len(noise)
        self._rule = settings.rule
        self._state = self._rule.start(noise)
        self._targets = target_norms(noise, settings.renormalize) if settings.iterations else None
        self._streams = streams
        self._origin = noise
        self._step = torch.zeros_like(noise)
        self._stepped = [False] * len(noise)

    def take(self, gradient: Tensor, good: Sequence[bool], was_active: Sequence[bool], batch: Batch) -> None:
        """After an iteration with ``gradient (B, ...)``: step the active images.

        An image whose numbers were not finite (not ``good``) takes its last step again, from where it began, at half the size: one whose
        very first noise failed has no step to take again. One that has given up is put back to its best iterate, since its own noise
        gave numbers that the batch is not to see again.
        """
        for index, (ok, active) in enumerate(zip(good, was_active, strict=True)):
            if active and not ok:
                self.factors[index] /= 2
        moving = [active and ok for active, ok in zip(batch.active, good, strict=True)]
        retrying = [active and not ok for active, ok in zip(batch.active, good, strict=True)]
        self._move(gradient, moving, retrying)
        for index, image in enumerate(batch.images):
            if image.gave_up:
                self.noise = self.noise.clone()
                self.noise[index] = image.best.noise

    def _move(self, gradient: Tensor, moving: Sequence[bool], retrying: Sequence[bool]) -> None:
        moves = spread(moving, self.noise)
        # Drawn for all, moving or not, so that no image's randomness depends on its own past failures.
        step, state = self._rule.step(torch.where(moves, gradient, 0), self._state, self._draw)
        self._state = {name: torch.where(spread(moving, new), new, self._state[name]) for name, new in state.items()}
        self.changed = [moved or (again and stepped) for moved, again, stepped in zip(moving, retrying, self._stepped, strict=True)]
        self._origin = torch.where(moves, self.noise, self._origin)
        self._step = torch.where(moves, step, self._step)
        self._stepped = [stepped or moved for stepped, moved in zip(self._stepped, moving, strict=True)]
        there = renormalize(self._origin + spread(self.factors, self.noise) * self._step, self._targets)
        self.noise = torch.where(spread(self.changed, self.noise), there, self.noise)

    def _draw(self) -> Tensor:
        return draw_normal([streams.perturbations for streams in self._streams], self.noise)
