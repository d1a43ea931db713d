"""Images side by side: a row for each prompt, a column for each method, with captions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .jobs import write

ROWS_A_SHEET = 6
TILE = 2.3  # inches, of 100 pixels each
BORDER = {True: "#248c54", False: "#c84632", None: "none"}  # right, wrong, not judged


@dataclass(frozen=True)
class Cell:
    """What stands in one column of a row: images of one size below each other, a label, lines of text and a judge's verdict."""

    label: str
    images: Sequence[Image.Image]
    lines: Sequence[str] = ()
    right: bool | None = None


def write_sheets(folder: Path, rows: Sequence[tuple[str, Sequence[Cell]]]) -> list[Path]:
    """Draw rows, each with its heading, a few on each ``sheet-NN.jpg`` of a folder, remove sheets of earlier and return the files."""
    written = []
    for number, start in enumerate(range(0, len(rows), ROWS_A_SHEET), start=1):
        contents = io.BytesIO()
        draw(rows[start : start + ROWS_A_SHEET]).savefig(contents, format="jpeg")
        written.append(folder / f"sheet-{number:02d}.jpg")
        write(written[-1], contents.getvalue())
    for old in set(folder.glob("sheet-*.jpg")) - set(written):
        old.unlink()
    return written


def draw(rows: Sequence[tuple[str, Sequence[Cell]]]) -> Figure:
    """One sheet."""
    columns, cells = max(len(row) for _, row in rows), [cell for _, row in rows for cell in row]
    tallest = max(sum(image.height / image.width for image in cell.images) for cell in cells)
    height = 0.6 + TILE * tallest + 0.17 * max(len(cell.lines) for cell in cells)
    figure = Figure(figsize=(TILE * columns, height * len(rows)), layout="constrained")
    for part, (heading, row) in zip(figure.subfigures(len(rows), squeeze=False)[:, 0], rows, strict=True):
        part.suptitle(shorten(heading, int(14 * TILE * columns), placeholder=" ..."), fontsize=9)
        for axes, cell in zip(part.subplots(1, columns, squeeze=False)[0], row, strict=False):
            axes.set_title(cell.label, fontsize=8, loc="left")
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel("\n".join(shorten(line, 36, placeholder=" ...") for line in cell.lines), fontsize=7, loc="left")
            axes.spines[:].set(color=BORDER[cell.right], linewidth=2)
            if cell.images:
                axes.imshow(np.concatenate([np.asarray(image.convert("RGB")) for image in cell.images]))
    return figure
