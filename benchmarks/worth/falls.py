"""How far each step of a run lowered the loss, and what its gradient had promised."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from sgool.guidance.augmentations import Augmentations
from sgool.guidance.objective import Context, Objective, Scored
from sgool.latent_optimization.history import History
from sgool.latent_optimization.random_streams import copy_of
from torch import Tensor

from ..common.statistics import share

Place = tuple[int, int]


@dataclass
class Falls:
    """An objective that scores each iterate once more, with the augmentations of the iterate before it.

    The loop's own trust region does the same; this is for presets without one. Where both latents of a coupled
    pair are scored, each has its own augmentations, and the pair's fall is the mean.

    Attributes:
        fallen: (iteration that a step led to, image) -> the falls of what was scored there.
    """

    inner: Objective
    seen: dict[Place, list[tuple[torch.Generator, float]]] = field(default_factory=lambda: defaultdict(list))
    fallen: dict[Place, list[float]] = field(default_factory=lambda: defaultdict(list))

    def begin(self) -> None:
        self.inner.begin()

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Falls:
        return Falls(self.inner.augmented(augmentations, reduce, region), self.seen, self.fallen)

    def __call__(self, images: Tensor, context: Context) -> Scored:
        iterates = images.requires_grad or context.iteration > 0  # and not a search or a rescoring, which are of iteration 0
        if not iterates or context.generator is None:
            return self.inner(images, context)
        drawn = copy_of(context.generator)
        scored = self.inner(images, context)
        here, before = (context.iteration, context.index), (context.iteration - 1, context.index)
        if before in self.seen:
            generator, loss = self.seen[before][len(self.seen[here])]
            with torch.no_grad():
                again = self.inner(images.detach(), replace(context, generator=copy_of(generator)))
            self.fallen[here].append(loss - float(again.losses[0]))
        self.seen[here].append((drawn, float(scored.losses.detach()[0])))
        return scored


@dataclass(frozen=True)
class Step:
    """One step: its length in standard deviations of the noise, the fall promised, the fall that came, and whether it was kept."""

    length: float
    promised: float
    fall: float
    kept: bool


def steps_of(history: History, fallen: Mapping[Place, Sequence[float]]) -> list[Step]:
    """Every step of a run, with what ``Falls`` found of it; those of a trust region by its own account, taken back or not."""
    found = []
    for row, following in zip(history.rows, history.rows[1:], strict=False):
        for image in range(history.images):
            measured = fallen.get((following.iteration, image), [math.nan])
            own = following.fall[image]
            fall = own if math.isfinite(own) else float(np.mean(measured))
            if math.isfinite(fall) and math.isfinite(row.predicted_fall[image]):
                length = row.step_norm[image] / math.sqrt(history.elements)
                found.append(Step(length, row.predicted_fall[image], fall, not following.rejected[image]))
    return found


def summary(steps: Sequence[Step], images: int) -> list[object]:
    """Cells of a table: steps, their median length, per cent that lowered the loss (with its interval), the part of the promised fall that
    came (median, where a fall was promised), per cent in which momentum led uphill, per cent kept, per cent of the kept that lowered
    it, and what these lowered it by, for each of the images."""
    fell, kept = [step.fall > 0 for step in steps], [step for step in steps if step.kept]
    parts = [step.fall / step.promised for step in steps if step.promised > 0]
    uphill = 1 - len(parts) / len(steps)
    return [
        len(steps),
        f"{np.median([step.length for step in steps]):.3g}",
        f"{share(sum(fell), len(fell)):.0f}",
        f"{np.median(parts):.2f}" if parts else "",
        f"{100 * uphill:.0f}",
        f"{100 * len(kept) / len(steps):.0f}",
        f"{100 * np.mean([step.fall > 0 for step in kept]):.0f}" if kept else "",
        f"{sum(step.fall for step in kept) / images:.4f}",
    ]


HEAD = (
    "steps",
    "median length",
    "loss fell, % (95 %)",
    "fall / promised",
    "promised none, %",
    "kept, %",
    "of the kept fell, %",
    "kept fall, an image",
)
