"""A run's numbers as comma-separated values, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from .held_out import GIVEN
from .history import Cost, HeldOut, History, Row

PER_IMAGE = ["regularizer", "gradient_norm", "step_norm", "noise_norm", "step_factor", "predicted_fall", "fall"]
FLAGS = ["rejected", "active", "finite"]
COSTS = [each.name for each in fields(Cost)]
PART, HELD_OUT, HELD_OUT_PART, PLAIN_LOSS = "part: ", "held_out_loss", "held_out part: ", "loss_without_augmentations"


def to_csv(history: History) -> str:
    """One line for each image and candidate, iteration or rescoring, in the order they happened, below a line of names.

    ``phase`` is ``search`` (then ``iteration`` is the candidate's number), ``optimize`` or ``rescore``; the other columns are named as the
    attributes of :class:`~.history.Row` and :class:`~.history.Cost` are, a part of the loss as ``part: NAME``. What a held-out objective
    says stands in the lines of the images that it was asked about, beside the loss without augmentations that it is compared with.
    Numbers are written so that they read back to the last bit; what was not measured is empty. Images count from 1, as in the text.
    Lines end in a bare newline, which whoever writes the file turns into the system's own.
    """
    names = _names(history)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for line in _lines(history):
        writer.writerow({name: _cell(value) for name, value in line.items()})
    return text.getvalue()


def _names(history: History) -> list[str]:
    """The columns. Those of parts and of a held-out objective are there where the run has some."""
    parts = _prefixed(PART, dict.fromkeys(name for row in history.rows for name in row.parts))
    held_out = [HELD_OUT, PLAIN_LOSS] if history.held_out else []
    held_out += _prefixed(HELD_OUT_PART, dict.fromkeys(name for look in history.held_out for name in look.parts))
    return ["image", "phase", "iteration", "loss", *parts, *held_out, *PER_IMAGE, *FLAGS, "returned", *COSTS]


def _prefixed(prefix: str, names: Iterable[str]) -> list[str]:
    return [prefix + name for name in names]


def _lines(history: History) -> Iterable[dict[str, Any]]:
    for candidate in history.candidates:
        for image, loss in enumerate(candidate.loss):
            looks = [look for look in history.held_out if (look.image, look.place, candidate.number) == (image, GIVEN, 0)]
            yield {**_line(image, "search", candidate.number, loss, candidate.cost), **_held_out(looks)}
    for row in history.rows:
        for image in range(history.images):
            yield _iteration(history, row, image)
    for each in history.rescored:
        yield _line(each.image, "rescore", each.iteration, each.loss, each.cost)


def _iteration(history: History, row: Row, image: int) -> dict[str, Any]:
    """The line of one image's iterate."""
    returned = bool(history.returned_iteration) and history.returned_iteration[image] == row.iteration and not row.rejected[image]
    line = _line(image, "optimize", row.iteration, row.loss[image], row.cost)
    line |= {PART + name: values[image] for name, values in row.parts.items()}
    line |= {name: getattr(row, name)[image] for name in (*PER_IMAGE, *FLAGS)}
    return {**line, "returned": returned, **_held_out(_looks(history, row, image, returned))}


def _looks(history: History, row: Row, image: int, returned: bool) -> list[HeldOut]:
    """What a held-out objective says of this iterate: of the noise that the iterations began with, of the one that is returned."""
    before = GIVEN if not history.candidates else "searched"
    places = ([before] if row.iteration == 0 else []) + (["returned"] if returned else [])
    return [look for look in history.held_out if look.image == image and look.place in places]


def _line(image: int, phase: str, iteration: int, loss: float, cost: Cost) -> dict[str, Any]:
    return {"image": image + 1, "phase": phase, "iteration": iteration, "loss": loss, **asdict(cost)}


def _held_out(looks: Sequence[HeldOut]) -> dict[str, Any]:
    """Of several looks at one noise, which say the same, the last."""
    if not looks:
        return {}
    parts = {HELD_OUT_PART + name: value for name, value in looks[-1].parts.items()}
    return {HELD_OUT: looks[-1].loss, PLAIN_LOSS: looks[-1].objective, **parts}


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)
