"""Before and after, for each term: the right image that came nearer to its wish than the others, or one that became wrong."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from ..common.jobs import Record, Store, write
from ..common.sheets import Cell, draw
from .owner import BEST_OF, pairs_of

SIDE = 64


def tile(store: Store, record: Record, column: int, row: int = 0) -> Image.Image:
    """One image of a job's file."""
    with Image.open(store.folder / "images" / f"{record['key']}.png") as whole:
        return whole.crop((column * SIDE, row * SIDE, (column + 1) * SIDE, (row + 1) * SIDE))


def write_figure(store: Store, names: list[str], way: str, path: Path) -> None:
    """The rows as a JPEG."""
    contents = io.BytesIO()
    draw(rows_of(store, names, way)).savefig(contents, format="jpeg")
    write(path, contents.getvalue())


def rows_of(store: Store, names: list[str], way: str, failures: int = 2) -> list[tuple[str, list[Cell]]]:
    """A row for each of ``names``: the largest fall of a right image; for the last ``failures``, of one that became wrong."""
    rows = []
    for number, name in enumerate(names):
        fails = number >= len(names) - failures
        column, first, one = _extreme(store, f"{name}, {way}", fails)
        best = first["chosen"][one["method"]][1][column]
        values = first["measured"][name][column]
        shown = [
            ("plain", tile(store, first, column), values[0], first["right"][column][0]),
            ("optimized", tile(store, one, column), one["measured"][name][column], one["right"][column]),
            (f"best of {BEST_OF}", tile(store, first, column, best), values[best], first["right"][column][best]),
        ]
        cells = [Cell(f"{label}: {value:.3f}", [image], (), right) for label, image, value, right in shown]
        rows.append((f"{'Failure: ' if fails else ''}{name}. {first['prompts'][column]}", cells))
    return rows


def _extreme(store: Store, wanted: str, lost: bool) -> tuple[int, Record, Record]:
    """The image with the largest fall of those that the judge then calls right; with ``lost``, that it called right before and not after.
    Where there are none, of all."""
    found, name = [], wanted.split(", ", 1)[0]
    for first, one in pairs_of([*store.records.values()], wanted):
        for column, (before, after) in enumerate(zip(first["measured"][name], one["measured"][name], strict=True)):
            right = one["right"][column]
            shown = first["right"][column][0] and not right if lost else right
            found.append((shown, before[0] - after, column, first, one))
    return max(found, key=lambda each: each[:2])[2:]
