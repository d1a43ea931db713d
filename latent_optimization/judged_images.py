"""Which of the images that are scored show a noise of a search, an iterate, or an iterate that is rescored."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

MOST = 4  # of a batch


class Judged(NamedTuple):
    """``frames``: ``(n, 3, H, W)`` of an image or video. ``salient``: ``(1, h, w)``, of an image, where it is known."""

    frames: Tensor
    salient: Tensor | None = None


class JudgedImages:
    """Keeps those of the first four of a batch, until they are taken.

    Of a search's candidate, and of an iterate that is rescored, it is the one scored last: before it the held-out objective may have been
    asked about another. An iteration runs the sampler, scores what came of it, and then perhaps (smoothing) what came of noises nearby: it
    is the first one scored since the sampler ran first.
    """

    def __init__(self) -> None:
        self._first: dict[int, Judged] = {}
        self._last: dict[int, Judged] = {}
        self._has_run = False

    def run_begins(self) -> None:
        """The sampler runs."""
        if not self._has_run:
            self._first, self._has_run = {}, True

    def judged(self, index: int, frames: Tensor, salient: Tensor | None = None) -> None:
        """The image or video at ``index`` is scored."""
        if index < MOST:
            self._last[index] = Judged(frames.detach(), salient)
            self._first.setdefault(index, self._last[index])

    def taken(self, phase: str) -> dict[int, Judged]:
        """What shows the candidate, iteration or rescoring that is done, by place, and forget it.

        Nothing for the first iteration after a search, for which the sampler does not run: what shows it was taken with its candidate.
        """
        found = self._last if phase != "optimize" else self._first if self._has_run else {}
        self._first, self._last, self._has_run = {}, {}, False
        return found
