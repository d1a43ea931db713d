"""Images along the way of a run, small: some of those that were decoded for scoring anyway."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..image_ops.resize import shrink
from .history import History
from .recorder import Progress

SIDE = 128
MOST_IMAGES = 4
GIVEN = -1
"""The iteration of the noise that a search was given."""


@dataclass(frozen=True)
class Snapshot:
    """``image``: ``(3, h, w)`` uint8, at most 128 pixels wide and high. ``iteration``: -1 of the noise that a search was given."""

    iteration: int
    image: Tensor


@dataclass
class _Kept:
    """Of one image: every ``stride``-th iterate, and those that may yet be returned."""

    stride: int = 1
    evenly: dict[int, Tensor] = field(default_factory=dict)
    given: Tensor | None = None
    best: tuple[float, int, Tensor] | None = None
    rescored: tuple[float, int, Tensor] | None = None
    last: tuple[int, Tensor] | None = None

    def found(self, iteration: int) -> Tensor | None:
        candidates = [(number, image) for each in (self.rescored, self.best) if each is not None for _, number, image in [each]]
        candidates += [self.last] if self.last is not None else []
        return next((image for number, image in candidates if number == iteration), self.evenly.get(iteration))


class AlongTheWay:
    """Keeps at most ``2 * count + 4`` small images for each of the first four of a batch.

    Args:
        count: of the images to show of each; 0 keeps nothing, and costs nothing.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: dict[int, _Kept] = {}
        self._first: dict[int, Tensor] = {}  # scored since the sampler ran anew
        self._last: dict[int, Tensor] = {}
        self._has_run = False

    def run_begins(self) -> None:
        """The sampler runs."""
        if not self._has_run:
            self._first, self._has_run = {}, True

    def judged(self, index: int, images: Tensor) -> None:
        """Frames ``(n, 3, H, W)`` of the image or video at ``index`` are scored; of a video the middle one is shown."""
        if self._count and index < MOST_IMAGES:
            self._last[index] = images[len(images) // 2].detach()
            self._first.setdefault(index, self._last[index])

    def told(self, progress: Progress, history: History) -> None:
        """A candidate, an iteration or a rescoring is done.

        Of a search's candidate and of a rescored iterate the image is the one scored last. An iteration runs the sampler, scores what
        came of it, and then perhaps of other noises nearby (smoothing).
        """
        iterated = progress.phase == "optimize"
        for index, judged in (self._first if iterated and self._has_run else {} if iterated else self._last).items():
            loss, kept = progress.losses[index], self._kept.setdefault(index, _Kept())
            taken_back = iterated and history.rows[-1].rejected[index]
            if not taken_back:
                self._keep(kept, progress, loss, _small(judged))
        if iterated and progress.iteration == 0:
            self._begin(history)
        self._first, self._last, self._has_run = {}, {}, False

    def _keep(self, kept: _Kept, progress: Progress, loss: float, image: Tensor) -> None:
        number = progress.iteration
        if progress.phase == "rescore":
            if math.isfinite(loss) and (kept.rescored is None or loss < kept.rescored[0]):
                kept.rescored = loss, number, image
            return
        if progress.phase == "search":
            kept.given = image if number == 0 else kept.given
            number = 0  # the best of them is what the iterations begin with
        else:
            kept.last = number, image
            if number % kept.stride == 0:
                kept.evenly[number] = image
            if len(kept.evenly) > 2 * self._count:
                kept.stride *= 2
                kept.evenly = {each: shown for each, shown in kept.evenly.items() if each % kept.stride == 0}
        # A search's losses are other ones, of images as they are.
        first = progress.phase == "optimize" and number == 0
        if first or kept.best is None or (math.isfinite(loss) and not loss >= kept.best[0]):
            kept.best = loss, number, image

    def _begin(self, history: History) -> None:
        """After the first iteration: the noise that a search was given is shown where the iterations begin with another."""
        for index, kept in self._kept.items():
            if kept.best is not None and 0 not in kept.evenly:  # a search alone does not score its best again
                kept.evenly[0] = kept.best[2]
            if not history.started_from[index]:
                kept.given = None

    def chosen(self, history: History) -> list[list[Snapshot]]:
        """For each image, in order: the noise given, ``count`` iterates from the first to the one returned, which is the last."""
        return [self._of(kept, history.returned_iteration[index]) for index, kept in sorted(self._kept.items())]

    def _of(self, kept: _Kept, returned: int) -> list[Snapshot]:
        before = sorted(number for number in kept.evenly if number < returned)
        room = self._count - 1
        if len(before) > room:
            before = [before[round(place * (len(before) - 1) / max(1, room - 1))] for place in range(room)]
        last = kept.found(returned)
        shown = [Snapshot(number, kept.evenly[number]) for number in before]
        shown += [Snapshot(returned, last)] if last is not None else []
        return ([Snapshot(GIVEN, kept.given)] if kept.given is not None else []) + shown


def _small(image: Tensor) -> Tensor:
    return (shrink(image[None].float(), SIDE)[0].clamp(0, 1) * 255).round().to("cpu", torch.uint8)
