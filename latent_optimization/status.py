"""What a run says of itself while it goes on, in a few lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .history import History
from .settings import Settings

MOST_IMAGES = 4


def status(history: History, settings: Settings, phase: str, number: int, *, share: float, seconds: float) -> str:
    """Lines for people: phase, number and time left, then the lowest loss so far and what a held-out objective says.

    The page has room for two lines in one of its node designs, and scrolls to others.

    Args:
        history: so far.
        settings: of the run.
        phase: ``"search"``, ``"optimize"``, ``"rescore"`` or ``"done"``.
        number: of the candidate or iteration under way, from 0.
        share: how much is done, in [0, 1].
        seconds: that it took.
    """
    time = f"took {duration(seconds)}" if phase == "done" else time_left(share, seconds)
    lines = [f"{_doing(settings, phase, number)}, {time}"]
    begun, best = _begun(history), _best(history)
    if best:
        lines.append(f"best loss {_numbers(best)}" + (f" (began at {_numbers(begun)})" if begun and begun != best else ""))
    if history.held_out:
        first, last = (_of_place(history, history.held_out[index].place) for index in (0, -1))
        lines.append(f"held-out loss {_numbers(last)}" + (f" (began at {_numbers(first)})" if first != last else ""))
    return "\n".join(lines)


def time_left(share: float, seconds: float) -> str:
    """How long it will take still, where ``share`` of it took ``seconds``; too early nothing is known."""
    return f"about {duration(seconds / share * (1 - share))} left" if share > 0.01 and seconds > 1 else "time left: not known yet"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    whole = max(1, round(seconds))
    if whole < 100:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 6000 else f"{whole / 3600:.1f} h"


def _doing(settings: Settings, phase: str, number: int) -> str:
    if phase == "search":
        return f"Search: noise {number + 1} of {settings.best_of}"
    if phase == "optimize":
        return f"Iteration {number + 1} of {settings.iterations}" if number < settings.iterations else "Looking at the last iterate"
    return "Rescoring the best iterates" if phase == "rescore" else "Done"


def _of_place(history: History, place: str) -> list[float]:
    return [look.loss for look in history.held_out if look.place == place]


def _begun(history: History) -> list[float]:
    return (history.candidates[0].loss if history.candidates else history.rows[0].loss) if history.candidates or history.rows else []


def _best(history: History) -> list[float]:
    """The lowest finite loss of each image so far."""
    if not (history.candidates or history.rows):
        return []
    found = []
    for image in range(history.images):
        tried = [each.loss[image] for each in history.candidates if math.isfinite(each.loss[image])]
        found.append(min([*tried, *(loss for _, loss in history.losses(image))], default=math.nan))
    return found


def _numbers(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:MOST_IMAGES])
    return shown + (", …" if len(values) > MOST_IMAGES else "")
