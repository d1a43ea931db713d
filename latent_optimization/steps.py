"""The noise under way: stepping it, image by image, and taking a step back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .batch import Batch
from .per_image import spread
from .random_streams import Streams, draw_normal
from .regularizers import total
from .renormalize import keeper
from .settings import Settings
from .trust_region import StepVerdict, predicted_fall
from .white_projection import project_white


class Steps:
    """The noise ``(B, ...)`` of a batch, with what is needed to undo each image's last step and take a shorter one.

    Attributes:
        noise: where the images are.
        factors: for each image, the factor of its steps; 1 until a step fails, and halved by each failure. A trust region changes it too.
        changed: for each image, whether the last call of ``take`` changed it.
        predicted: for each image that it changed, the fall of what is minimized that the gradient promises of that; NaN for the others.
    """

    def __init__(self, noise: Tensor, settings: Settings, streams: Sequence[Streams]) -> None:
        self.noise = noise
        self.factors = [1.0] * len(noise)
        self.changed = [False] * len(noise)
        self.predicted = [math.nan] * len(noise)
        self._rule = settings.rule
        self._trust, self._regularizer = settings.trust_region, settings.regularizer
        self._fresh = self._rule.start(noise)
        self._state = self._fresh
        self._keep = keeper(noise, settings.renormalize) if settings.iterations else keeper(noise, "none")
        self._whiten = settings.precondition == "white"
        self._streams = streams
        self._origin = noise
        self._step = torch.zeros_like(noise)
        self._gradient = torch.zeros_like(noise)
        self._stepped = [False] * len(noise)
        self._values = [math.nan] * len(noise)

    @property
    def judged(self) -> list[bool]:
        """Whose last step a trust region is to judge."""
        return [self._trust is not None and changed and math.isfinite(old) for changed, old in zip(self.changed, self._values, strict=True)]

    def judge(self, losses: Sequence[float], regularizer: Sequence[float]) -> StepVerdict:
        """What came of the last steps, by the ``losses`` now under the augmentations of before each image's step."""
        verdict = StepVerdict.of(self._values, total(losses, self._regularizer, regularizer))
        for index, (fall, promised) in enumerate(zip(verdict.fall, self.predicted, strict=True)):
            if self._trust is not None and math.isfinite(fall):
                self.factors[index] = self._trust.next_factor(self.factors[index], fall, promised)
        return verdict

    def take(
        self,
        gradient: Tensor,
        good: Sequence[bool],
        was_active: Sequence[bool],
        batch: Batch,
        *,
        losses: Sequence[float],
        regularizer: Sequence[float],
        rejected: Sequence[bool],
    ) -> None:
        """After an iteration with ``gradient (B, ...)`` of what is minimized (``losses`` and ``regularizer``): step the active images.

        An image whose numbers were not finite (not ``good``) takes its last step again, from where it began, at half the size: one whose
        very first noise failed has no step to take again. One whose step was ``rejected`` goes back to where it began as well, and steps
        anew along the gradient there with the rule's memory cleared, since momentum may lead uphill. One that has given up is put back to
        its best iterate, since its own noise gave numbers that the batch is not to see again.
        """
        for index, (ok, active) in enumerate(zip(good, was_active, strict=True)):
            if active and not ok:
                self.factors[index] /= 2
        again = [active and ok and back for active, ok, back in zip(batch.active, good, rejected, strict=True)]
        moving = [active and ok and not back for active, ok, back in zip(batch.active, good, rejected, strict=True)]
        retrying = [active and not ok for active, ok in zip(batch.active, good, strict=True)]
        values = total(losses, self._regularizer, regularizer)
        self._values = [new if moved else old for moved, new, old in zip(moving, values, self._values, strict=True)]
        self._gradient = torch.where(spread(moving, gradient), gradient, self._gradient)
        self._move(moving, again, retrying)
        for index, image in enumerate(batch.images):
            if image.gave_up:
                self.noise = self.noise.clone()
                self.noise[index] = image.best.noise

    def _move(self, moving: Sequence[bool], again: Sequence[bool], retrying: Sequence[bool]) -> None:
        moves, stepping = spread(moving, self.noise), [moved or back for moved, back in zip(moving, again, strict=True)]
        steps = spread(stepping, self.noise)
        memory = {name: torch.where(spread(again, old), self._fresh[name], old) for name, old in self._state.items()}
        # Drawn for all, moving or not, so that no image's randomness depends on its own past failures.
        gradient = torch.where(steps, self._gradient, 0)
        step, state = self._rule.step(project_white(gradient) if self._whiten else gradient, memory, self._draw)
        self._state = {name: torch.where(spread(stepping, new), new, self._state[name]) for name, new in state.items()}
        self.changed = [new or (retry and stepped) for new, retry, stepped in zip(stepping, retrying, self._stepped, strict=True)]
        self._origin = torch.where(moves, self.noise, self._origin)
        self._step = torch.where(steps, step, self._step)
        self._stepped = [stepped or moved for stepped, moved in zip(self._stepped, moving, strict=True)]
        there = self._keep(self._origin + spread(self.factors, self.noise) * self._step)
        self.noise = torch.where(spread(self.changed, self.noise), there, self.noise)
        promised = predicted_fall(self._gradient, self.noise - self._origin)
        self.predicted = [fall if changed else math.nan for fall, changed in zip(promised, self.changed, strict=True)]

    def _draw(self) -> Tensor:
        return draw_normal([streams.perturbations for streams in self._streams], self.noise)
