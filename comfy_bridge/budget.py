"""How much of a run's time its preview may take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

SHARE = 0.015
"""Of the time since the run began. Bar and text take .4 % more (docs/gradient-cost.md), and all of it is to stay under 2 %."""
FIRST = 0.01
"""Seconds that the first one is expected to take."""


class Budget:
    """Allows something while that and all of it before are expected to take no more than ``SHARE`` of the time since this was made.

    So a run of half a second shows nothing, one of seconds begins after two thirds of a second, and a long run shows all there is.
    """

    def __init__(self) -> None:
        self._began, self._spent, self._count = time.monotonic(), 0.0, 0

    @property
    def allows(self) -> bool:
        """Whether there is time for one more."""
        expected = self._spent / self._count if self._count else FIRST
        return self._spent + expected <= SHARE * (time.monotonic() - self._began)

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """The time within is spent."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - began
            self._count += 1
