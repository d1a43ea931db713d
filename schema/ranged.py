"""Dataclass fields that know their range and their one line of help: checked on construction, and read by the nodes for their widgets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
    """What a number may be: finite, from ``low`` to ``high``; each end itself only where it is included. ``whole``: an integer."""

    low: float
    high: float = math.inf
    low_included: bool = True
    high_included: bool = True
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is in the range. Booleans are not numbers."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)) or not math.isfinite(value):
            return False
        above = value >= self.low if self.low_included else value > self.low
        below = value <= self.high if self.high_included else value < self.high
        return above and below

    def __str__(self) -> str:
        ends = f"{'at least' if self.low_included else 'above'} {self.low:g}"
        if math.isfinite(self.high):
            ends += f" and {'at most' if self.high_included else 'below'} {self.high:g}"
        return f"a whole number, {ends}" if self.whole else ends


def number(
    default: float,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float = math.inf,
    at_most: float = math.inf,
    help: str,
) -> Any:
    """A field that holds a finite number; give ``at_least`` or ``above``, and at most one upper end."""
    low, included = (at_least, True) if at_least is not None else (above, False)
    assert low is not None
    span = Range(low, min(below, at_most), included, at_most <= below)
    return dataclasses.field(default=default, metadata={"range": span, "help": help})


def count(default: int, *, at_least: int, at_most: float = math.inf, help: str) -> Any:
    """A field that holds a whole number."""
    return dataclasses.field(default=default, metadata={"range": Range(at_least, at_most, whole=True), "help": help})


def choice(default: str, options: Sequence[str], *, help: str) -> Any:
    """A field that holds one of several words."""
    return dataclasses.field(default=default, metadata={"options": tuple(options), "help": help})


def flag(default: bool, *, help: str) -> Any:
    """A field that is on or off."""
    return dataclasses.field(default=default, metadata={"flag": True, "help": help})


class Ranged:
    """Base of a dataclass with such fields. Raises ``ValueError`` for a value outside its field's range, with what was expected."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            span, options = field.metadata.get("range"), field.metadata.get("options")
            if span is not None and not span.holds(value):
                raise ValueError(f"{field.name} is {value!r}; it has to be {span}.")
            if options is not None and value not in options:
                raise ValueError(f"{field.name} is {value!r}; it has to be one of {', '.join(options)}.")
