"""When an image needs no more iterations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stopping:
    """Early stop, judged for each image by its own losses.

    Args:
        patience: stop after this many iterations in a row without improvement; 0 never stops for that.
        min_improvement: by how much a loss must fall below the lowest before it to count as improvement, in units of the loss, at least 0.
        target_loss: stop once the loss is at or below this; ``None`` for no target.
        max_failures: stop after this many iterations in a row whose loss or gradient was not finite, at least 1.

    Raises:
        ValueError: for a number outside its range.
    """

    patience: int = 0
    min_improvement: float = 0.0
    target_loss: float | None = None
    max_failures: int = 3

    def __post_init__(self) -> None:
        if self.patience < 0:
            raise ValueError(f"The patience is {self.patience}; it has to be 0 (never stop early) or a number of iterations.")
        if not (math.isfinite(self.min_improvement) and self.min_improvement >= 0):
            raise ValueError(f"The smallest improvement is {self.min_improvement}; it has to be 0 or above.")
        if self.target_loss is not None and math.isnan(self.target_loss):
            raise ValueError("The target loss is not a number; give a loss to stop at, or none.")
        if self.max_failures < 1:
            raise ValueError(f"The number of failures to stop after is {self.max_failures}; it has to be at least 1.")


@dataclass
class Watch:
    """One image's losses as the early stop sees them."""

    stopping: Stopping
    lowest: float = math.inf
    stale: int = 0
    failures: int = field(default=0)

    def failed(self) -> str | None:
        """Note an iteration without a finite loss or gradient; the reason to stop, if it is time."""
        self.failures += 1
        if self.failures < self.stopping.max_failures:
            return None
        times = "once" if self.failures == 1 else f"{self.failures} times in a row"
        return f"its loss or gradient was not finite {times}"

    def saw(self, loss: float) -> str | None:
        """Note a finite loss; the reason to stop, if it is time."""
        self.failures = 0
        target = self.stopping.target_loss
        if target is not None and loss <= target:
            return f"its loss {loss:.6g} reached the target {target:.6g}"
        if loss < self.lowest - self.stopping.min_improvement:
            self.lowest, self.stale = loss, 0
            return None
        self.stale += 1
        if self.stopping.patience and self.stale >= self.stopping.patience:
            return f"its loss did not improve by more than {self.stopping.min_improvement:g} in {self.stale} iterations"
        return None
