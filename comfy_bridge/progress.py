"""What the page shows of a run while it goes on: one bar, and a few lines of text in the node."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import comfy.utils

from .budget import Budget
from .preview import Preview, wanted
from .server_events import node_that_runs, server, show_in_node

BETWEEN_TEXTS = 0.5
"""Seconds between two texts: more cannot be read."""
BETWEEN_MOVES = 0.1
"""Seconds between two moves of the bar, as core has it."""
Draw = Callable[[], Preview | None]


class Bar:
    """ComfyUI's bar of the node that runs, from 0 to ``most``; where one is under way already, a part of that one, without previews.

    Its end is the same from its first message to its last, and it never goes back.

    Args:
        most: what its end is called: the steps of the schedule, as core's samplers have it.
    """

    def __init__(self, most: int) -> None:
        self._outer = _enclosing.get()
        self._most, self._node_id = max(1, most), node_that_runs()
        self._share, self._sent, self._previews = 0.0, -math.inf, Budget()
        self.to(0.0)

    def to(self, share: float, draw: Draw | None = None) -> bool:
        """So much of it is done, in [0, 1].

        Args:
            share: of the whole.
            draw: makes a preview; is asked only where the run's time allows one.

        Returns:
            Whether a preview is shown.
        """
        self._share = max(self._share, min(1.0, share))
        if self._outer is not None:
            self._outer(self._share)
        elif draw is not None and wanted() and self._previews.allows:
            with self._previews.spending():
                self._send(draw())
            return True
        elif self._share >= 1 or time.monotonic() - self._sent >= BETWEEN_MOVES:
            self._send(None)
        return False

    def _send(self, preview: Preview | None) -> None:
        """Through a bar of core's that is new each time: from one move to the next it would hold back those below half a percent."""
        self._sent = time.monotonic()
        bar = comfy.utils.ProgressBar(self._most, node_id=self._node_id)
        bar.update_absolute(round(self._share * self._most, 4), self._most, preview)

    @contextlib.contextmanager
    def part(self, begin: float, end: float) -> Iterator[None]:
        """Bars that are made within are this one's from ``begin`` to ``end``, both shares of the whole."""
        token = _enclosing.set(lambda share: self.to(begin + share * (end - begin)))
        try:
            yield
        finally:
            _enclosing.reset(token)


_enclosing: ContextVar[Callable[[float], Any] | None] = ContextVar("enclosing bar of SGOOL", default=None)


class Text:
    """Lines in the node that runs, over ComfyUI's own message for them; nothing where there is no server."""

    def __init__(self) -> None:
        self._node_id = node_that_runs() if _enclosing.get() is None else None
        self._said, self._began = -BETWEEN_TEXTS, time.monotonic()

    @property
    def seconds(self) -> float:
        """Since this was made."""
        return time.monotonic() - self._began

    def say(self, lines: Callable[[], str], now: bool = False) -> None:
        """Show what ``lines`` returns, but not often; ``now``: in any case."""
        if server() is None or self._node_id is None or not (now or self.seconds - self._said >= BETWEEN_TEXTS):
            return
        self._said = self.seconds
        show_in_node(lines(), self._node_id)
