"""The course of an optimization in diagrams: what is in them. plot_drawing.py draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .history import History, Row

MOST_LINES = 8
LOSSES, TAKEN_BACK = "loss of each image (ring: the one returned)", "; steps that were taken back are left out"
HELD_OUT = "held-out loss, before and after (ring: the image returned)"
HELD_OUT_SEARCHED = "held-out loss of the noise given and of the one searched, both at 0, and of the image returned (ring)"
TITLES = {
    "loss": "loss of each objective times its weight, mean over images",
    "share": "share of each objective in the gradient in the image",
    "agreement": "cosine of each objective's gradient with the others' (below 0: conflict)",
}


@dataclass(frozen=True)
class Curve:
    """One line of a panel: points ``(x, y)``, and the number of its color. ``mark``: the x of a point to set off, or ``None``."""

    name: str
    points: list[tuple[float, float]]
    color: int
    mark: float | None = None


@dataclass(frozen=True)
class Panel:
    """One diagram: a title, its curves, and whether its values are shown on a logarithmic scale (those above 0)."""

    title: str
    curves: list[Curve]
    logarithmic: bool = False


def panels_of(history: History) -> list[Panel]:
    """The diagrams of a run: losses of the images, means of the losses' parts, and norms of the gradient.

    Parts that are named ``"who: what"`` are in a diagram for each ``what``. Losses and parts leave out the noises that a trust region
    took back: the run did not go there.
    """
    taken_back = TAKEN_BACK if any(any(row.rejected) for row in history.rows) else ""
    searched = any(look.place == "searched" for look in history.held_out)
    names = sorted({name for row in history.rows for name in row.parts})
    kinds = dict.fromkeys(name.rpartition(": ")[2] for name in names if ": " in name)
    return [
        Panel(LOSSES + taken_back, _losses(history)),
        Panel("change of the loss since the start, each step judged under the same augmentations", _falls(history)),
        Panel("parts of the loss, mean over images", _parts(history, {name: name for name in names if ": " not in name})),
        *[Panel(TITLES.get(kind, kind), _parts(history, _of_kind(names, kind))) for kind in kinds],
        Panel("norm of the gradient in the noise", _gradients(history), logarithmic=True),
        Panel(HELD_OUT_SEARCHED if searched else HELD_OUT, _held_out(history)),
    ]


def _losses(history: History) -> list[Curve]:
    curves = []
    for image in range(min(history.images, MOST_LINES)):
        points = [(float(x), y) for x, y in history.losses(image)]
        returned = float(history.returned_iteration[image]) if history.returned_iteration else None
        curves.append(Curve(f"image {image + 1}", points, image, returned))
    return curves


def _falls(history: History) -> list[Curve]:
    """Sums of what the kept steps lowered the loss by: without the noise of augmentations that are drawn anew for each iteration."""
    curves = []
    for image in range(min(history.images, MOST_LINES)):
        kept = [row for row in history.rows if math.isfinite(row.fall[image]) and not row.rejected[image]]
        sums = accumulate(-row.fall[image] for row in kept)
        points = [(float(row.iteration), y) for row, y in zip(kept, sums, strict=True)]
        curves.append(Curve(f"image {image + 1}", [(0.0, 0.0), *points] if points else [], image))
    return curves


def _of_kind(names: Sequence[str], kind: str) -> dict[str, str]:
    """Part -> whose it is."""
    return {name: name.rpartition(": ")[0] for name in names if name.rpartition(": ")[2] == kind and ": " in name}


def _parts(history: History, shown: Mapping[str, str]) -> list[Curve]:
    """Curves of the parts in ``shown``, under the names that it has for them."""
    curves = []
    for index, (part, name) in enumerate(list(shown.items())[:MOST_LINES]):
        points = [(float(row.iteration), _mean(_kept(row, part))) for row in history.rows]
        curves.append(Curve(name, [(x, y) for x, y in points if math.isfinite(y)], index))
    return curves


def _kept(row: Row, part: str) -> list[float]:
    """The part's values of the images whose step to this row was not taken back."""
    values = row.parts.get(part)
    return [] if values is None else [value for value, rejected in zip(values, row.rejected, strict=True) if not rejected]


def _gradients(history: History) -> list[Curve]:
    curves = []
    for image in range(min(history.images, MOST_LINES)):
        points = [(float(row.iteration), row.gradient_norm[image]) for row in history.rows]
        curves.append(Curve(f"image {image + 1}", [(x, y) for x, y in points if math.isfinite(y) and y > 0], image))
    return curves


def _held_out(history: History) -> list[Curve]:
    curves = []
    for image in range(min(history.images, MOST_LINES)):
        returned = float(history.returned_iteration[image]) if history.returned_iteration else 0.0
        looks = [(returned if look.place == "returned" else 0.0, look.loss) for look in history.held_out if look.image == image]
        points = [(x, y) for x, y in looks if math.isfinite(y)]
        curves.append(Curve(f"image {image + 1}", points, image, returned if returned else None))
    return curves


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
