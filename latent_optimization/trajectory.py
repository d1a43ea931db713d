"""One image's way through a run: its iterates, when and why it stopped, and which iterate is returned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .settings import Settings, Stopping


@dataclass(frozen=True)
class Iterate:
    """One image at one iteration: ``noise`` and ``latent`` without batch dimension, and the loss (NaN if it was not scored)."""

    iteration: int
    loss: float
    noise: Tensor
    latent: Tensor


class EarlyStop:
    """One image's losses as the early stop sees them."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self._lowest = math.inf
        self._stale = self._failures = 0

    def failed(self) -> str | None:
        """Note an iteration without a finite loss or gradient; the reason to stop, if it is time."""
        self._failures += 1
        if self._failures < self._stopping.max_failures:
            return None
        return f"its loss or gradient was not finite {'once' if self._failures == 1 else f'{self._failures} times in a row'}"

    def saw(self, loss: float) -> str | None:
        """Note a finite loss; the reason to stop, if it is time."""
        self._failures = 0
        target = self._stopping.target_loss
        if target is not None and loss <= target:
            return f"its loss {loss:.6g} reached the target {target:.6g}"
        if loss < self._lowest - self._stopping.min_improvement:
            self._lowest, self._stale = loss, 0
            return None
        self._stale += 1
        if self._stopping.patience and self._stale >= self._stopping.patience:
            return f"its loss did not improve by more than {self._stopping.min_improvement:g} in {self._stale} iterations"
        return None


class Trajectory:
    """What one image has been through. Iterates whose loss is not finite are forgotten, but for the very first.

    Attributes:
        active: whether it is still being optimized.
        stopped: why it stopped before the last iteration, or ``None``.
        gave_up: whether it stopped because its numbers were not finite.
    """

    def __init__(self, settings: Settings) -> None:
        self.active, self.gave_up = True, False
        self.stopped: str | None = None
        self._failed_at: list[int] = []
        self._early_stop = EarlyStop(settings.stopping)
        self._settings = settings
        self._all: list[Iterate] = []
        self._first: Iterate | None = None
        self._best: Iterate | None = None
        self._last: Iterate | None = None

    def add(self, iteration: int, loss: float, noise: Tensor, latent: Tensor) -> None:
        """Note an iterate; ``noise`` and ``latent`` are copied. All are kept where some may be rescored, on the CPU."""
        if self._first is not None and not math.isfinite(loss):
            return
        iterate = Iterate(iteration, loss, noise.detach().clone(), latent.detach().clone())
        self._first = self._first or iterate
        if not math.isfinite(loss):
            return
        self._last = iterate
        if self._best is None or loss < self._best.loss:
            self._best = iterate
        if self._settings.returned == "rescored":
            self._all.append(Iterate(iteration, loss, iterate.noise.cpu(), iterate.latent.cpu()))

    def check(self, iteration: int, loss: float, good: bool) -> None:
        """Let the early stop see an iteration; ``good``: its loss and gradient were finite."""
        reason = self._early_stop.saw(loss) if good else self._early_stop.failed()
        if not good:
            self.failed(iteration)
            self.gave_up = reason is not None
        if reason is not None:
            self.active = False
            self.stopped = f"{reason} (iteration {iteration})"

    def failed(self, iteration: int) -> None:
        """Note that the numbers of an iteration were not finite."""
        self._failed_at.append(iteration)

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

    def choose(self, rescore: Callable[[Iterate], float]) -> Iterate:
        """The iterate that is returned. ``rescore`` gives an iterate's loss with fresh augmentations."""
        settings = self._settings
        shortlist = self.shortlist(settings.rescoring_candidates)
        if settings.returned == "rescored" and len(shortlist) > 1:
            rescored = [(rescore(iterate), iterate) for iterate in shortlist]
            finite = [(loss, iterate) for loss, iterate in rescored if math.isfinite(loss)]
            return min(finite, key=lambda pair: pair[0])[1] if finite else self.best
        if settings.returned == "last" and not self.gave_up:
            return self.last
        return self.best

    def message(self, name: str, returned: int) -> list[str]:
        """Sentences for the user where something went wrong or ended early; ``name`` is the image's, ``returned`` the iteration."""
        sentences = []
        if self._failed_at and not math.isfinite(self.best.loss):
            sentences.append(
                f"{name}: no finite loss was found, so its noise is returned as it was given. Look at what goes in: a latent or mask that "
                "is not finite, or a model or VAE that overflows in half precision; run that in float32."
            )
        elif self._failed_at and not self.gave_up:
            where = ", ".join(map(str, self._failed_at))
            sentences.append(
                f"{name}: the loss or gradient was not finite (iteration {where}); the step before was undone and further steps halved."
            )
        if self.stopped is not None:
            sentences.append(f"{name} stopped early: {self.stopped}. Iteration {returned} is returned.")
        return sentences
