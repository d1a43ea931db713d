"""How much there is to do in a run, and how much of it is done, in model calls: for a bar whose total is right from the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .settings import Settings

# In forward passes of a model call. Backward costs about one, since weights get no gradient, and one more where the call has to be made
# again: forward and backward together were measured at 2.05 and 3.06 (docs/gradient-cost.md). What decoder and objective cost beside the
# model differs from model to model: the bar's pace is a guess, its ends are not.
BACKWARD, RECOMPUTATION = 1.0, 1.0
SCORE, SCORE_WITH_GRADIENT = 1.0, 3.0
DECODE = SCORE / 2


class Work:
    """The parts of a run of ``optimize``, in order.

    Args:
        settings: of the run.
        images: batch size.
        calls: model calls of one run of the sampler.
        carried: how many of them carry their Jacobian.
        stored: how many of those keep their activations, as far as is known; the others are made again in backward.
        latents: that are scored for each image: two of a coupled pair.
        held_out: whether a held-out objective is asked.
        top_k: how many of each image are kept; with more than one each iterate is scored once more, and those kept are decoded.
        afterwards: model calls after the run.

    Attributes:
        total: of everything.
        marks: where candidates, iterations and rescorings end, ascending.
        backward: of one call that carries its Jacobian, the mean of stored and recomputed ones.
        score_backward: of what is scored of one image.
    """

    def __init__(
        self,
        settings: Settings,
        images: int,
        calls: int,
        carried: int,
        *,
        stored: int = 0,
        latents: int = 1,
        held_out: bool = False,
        top_k: int = 1,
        afterwards: int = 0,
    ) -> None:
        self.backward = BACKWARD + RECOMPUTATION * (1 - min(stored, carried) / max(1, carried))
        self.score_backward = latents * (SCORE_WITH_GRADIENT - SCORE)
        scored = images * latents
        look = 2 * scored * SCORE if held_out else 0.0
        judged = scored * SCORE if settings.trust_region is not None else 0.0
        draws = settings.smoothing.draws if settings.smoothing is not None else 0
        gradient = calls + scored * SCORE_WITH_GRADIENT + carried * self.backward
        again = scored * SCORE if top_k > 1 else 0.0
        self._candidate = calls + scored * SCORE + (again if settings.search_augmented else 0.0)
        self._searched = settings.best_of * self._candidate + look if settings.best_of > 1 else 0.0
        seen = again if self._searched else 0.0  # iteration 0 is a noise of the search
        self._first = look - seen if settings.iterations else 0.0
        self._iteration = judged + gradient * (1 + draws) + again
        self._iterations = settings.iterations
        last = calls + scored * SCORE + judged + again if settings.iterations or not self._searched else 0.0
        self._optimized = self._searched + self._first + settings.iterations * self._iteration + last
        rescores = settings.returned == "rescored" and settings.iterations
        self._rescored = settings.rescoring_augmentations * latents * SCORE
        rescorings = images * min(settings.rescoring_candidates, settings.iterations + 1) if rescores else 0
        kept = images * top_k * DECODE if top_k > 1 else 0.0
        self.total = self._optimized + rescorings * self._rescored + look + kept + afterwards
        self.marks = [self.after("search", number) for number in range(settings.best_of)] if self._searched else []
        self.marks += [self.after("optimize", number) for number in range(settings.iterations + 1)]
        self.marks += [self.after("rescore", number) for number in range(rescorings)]

    def after(self, phase: str, number: int) -> float:
        """How much is done after a candidate, an iteration (the last included), or so many rescorings and one more."""
        if phase == "search":
            return (number + 1) * self._candidate
        if phase == "optimize":
            done = self._searched + self._first + (number + 1) * self._iteration
            return done if number < self._iterations else self._optimized
        return self._optimized + (number + 1) * self._rescored


class Position:
    """How far a run is. Never goes back; what was counted is set right at each mark, and does not pass the next one before it is reached.

    Args:
        total: of all parts. marks: where they end, ascending.
        on_move: told of the share that is done, in [0, 1].
    """

    def __init__(self, total: float, marks: Sequence[float], on_move: Callable[[float], object]) -> None:
        self._total, self._marks, self._on_move = max(total, 1e-9), marks, on_move
        self._floor = self._counted = 0.0

    @property
    def share(self) -> float:
        """Of the whole, in [0, 1]."""
        return min(1.0, self._counted / self._total)

    def add(self, units: float) -> None:
        """So much more is done."""
        ahead = next((mark for mark in self._marks if mark > self._floor + 1e-6), self._total)
        self._counted = max(self._counted, min(self._counted + units, ahead))
        self._on_move(self.share)

    def reached(self, mark: float) -> None:
        """A mark is reached, whatever was counted."""
        self._floor = max(self._floor, mark)
        self._counted = max(self._counted, self._floor)
        self._on_move(self.share)


class Ticks:
    """One part of the work that says, some number of times, that it goes on.

    Args:
        units: of the part. tell: told of units that are done, which add up to these.
    """

    def __init__(self, units: float, tell: Callable[[float], None]) -> None:
        self._units, self._tell = units, tell
        self._before = self._seen = 0
        self._told = 0.0

    def tick(self, expected: int) -> None:
        """It goes on. ``expected``: how often that may be said; of a part that has ended before, as often as then is expected instead."""
        self._seen += 1
        most = self._before or expected
        if self._seen <= most:
            share = self._units / (most + 1)
            self._told += share
            self._tell(share)

    def ends(self) -> None:
        """The rest of it is done; another one like it may begin."""
        self._tell(self._units - self._told)
        self._before, self._seen, self._told = self._seen, 0, 0.0
