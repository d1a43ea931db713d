"""Images along the way of a run, small: some of those that were decoded for scoring anyway."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..image_ops.resize import shrink
from .history import History
from .recorder import Progress

SIDE = 128
GIVEN = -1
"""The iteration of the noise that a search was given."""


@dataclass(frozen=True)
class SmallImage:
    """``image``: ``(3, h, w)`` uint8, at most 128 pixels wide and high. ``iteration``: -1 of the noise that a search was given."""

    iteration: int
    image: Tensor
    returned: bool = False


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
        latest = [each[-2:] for each in (self.last, self.best, self.rescored) if each is not None]
        return {**self.evenly, **dict(latest)}.get(iteration)


class AlongTheWay:
    """Keeps at most ``2 * count + 4`` small images for each of a batch.

    Args:
        count: of the images to show of each; 0 keeps nothing.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: dict[int, _Kept] = {}

    def told(self, progress: Progress, history: History, judged: Mapping[int, Tensor]) -> None:
        """A candidate, an iteration or a rescoring is done. ``judged``: frames ``(n, 3, H, W)`` of it, by the place of the image or video
        in the batch, see :class:`~.judged_images.JudgedImages`; of a video the middle one is shown.
        """
        if not self._count:
            return
        iterated = progress.phase == "optimize"
        for index, frames in judged.items():
            kept = self._kept.setdefault(index, _Kept())
            if not (iterated and history.rows[-1].rejected[index]):
                self._keep(kept, progress, progress.losses[index], _small(frames[len(frames) // 2]))
        if iterated and progress.iteration == 0:
            self._begin(history)

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

    def chosen(self, history: History) -> list[list[SmallImage]]:
        """For each image, in order: the noise given, ``count`` iterates from the first to the one returned, which is the last."""
        return [self._of(kept, history.returned_iteration[index]) for index, kept in sorted(self._kept.items())]

    def _of(self, kept: _Kept, returned: int) -> list[SmallImage]:
        before = sorted(number for number in kept.evenly if number < returned)
        room = self._count - 1
        if len(before) > room:
            before = [before[round(place * (len(before) - 1) / max(1, room - 1))] for place in range(room)]
        last = kept.found(returned)
        shown = [SmallImage(number, kept.evenly[number]) for number in before]
        shown += [SmallImage(returned, last, returned=True)] if last is not None else []
        return ([SmallImage(GIVEN, kept.given)] if kept.given is not None else []) + shown


def _small(image: Tensor) -> Tensor:
    return (shrink(image[None].detach().float(), SIDE)[0].clamp(0, 1) * 255).round().to("cpu", torch.uint8)
