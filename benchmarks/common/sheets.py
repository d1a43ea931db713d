"""Images side by side: a row for each prompt, a column for each method, with captions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .jobs import write

TILE, GAP, LINE = 224, 8, 18
ROWS_A_SHEET = 6
INK, FAINT, PAPER, RIGHT, WRONG = (32, 34, 38), (130, 132, 136), (250, 250, 248), (36, 140, 84), (200, 70, 50)


@dataclass(frozen=True)
class Cell:
    """What stands in one column of a row: images below each other, with a label, lines of text below them and a judge's verdict."""

    label: str
    images: Sequence[Image.Image]
    lines: Sequence[str] = ()
    right: bool | None = None


def write_sheets(folder: Path, rows: Sequence[tuple[str, Sequence[Cell]]]) -> list[Path]:
    """Draw rows, each with its heading, a few on each ``sheet-NN.jpg`` of a folder, remove sheets of earlier and return the files."""
    written = []
    for number, start in enumerate(range(0, len(rows), ROWS_A_SHEET), start=1):
        contents = io.BytesIO()
        draw(rows[start : start + ROWS_A_SHEET]).save(contents, "JPEG", quality=90)
        written.append(folder / f"sheet-{number:02d}.jpg")
        write(written[-1], contents.getvalue())
    for old in set(folder.glob("sheet-*.jpg")) - set(written):
        old.unlink()
    return written


def draw(rows: Sequence[tuple[str, Sequence[Cell]]]) -> Image.Image:
    """One sheet."""
    cells = [cell for _, row in rows for cell in row]
    height = LINE + GAP + TILE * max(len(cell.images) for cell in cells) + LINE * max(len(cell.lines) for cell in cells) + GAP
    sheet = Image.new("RGB", (GAP + max(len(row) for _, row in rows) * (TILE + GAP), len(rows) * height + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (heading, row) in enumerate(rows):
        top = GAP + number * height
        pen.text((GAP, top), _shortened(pen, heading, sheet.width - 2 * GAP, 14), INK, ImageFont.load_default(14))
        for column, cell in enumerate(row):
            _draw_cell(sheet, GAP + column * (TILE + GAP), top + LINE + 2, cell)
    return sheet


def _draw_cell(sheet: Image.Image, left: int, top: int, cell: Cell) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, image in enumerate(cell.images):
        sheet.paste(_tile(image), (left, top + number * TILE))
    if cell.right is not None:
        pen.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline=RIGHT if cell.right else WRONG, width=3)
    pen.rectangle((left + 3, top + 3, left + 11 + pen.textlength(cell.label, font), top + 20), fill=PAPER)
    pen.text((left + 7, top + 4), cell.label, INK if cell.images else FAINT, font)
    for number, line in enumerate(cell.lines):
        below = top + len(cell.images) * TILE + 2 + number * LINE
        pen.text((left, below), _shortened(pen, line, TILE, 12), FAINT if line.endswith("optimized") else INK, font)


def _tile(image: Image.Image) -> Image.Image:
    """An image fitted into a tile; small ones enlarged so that their pixels are seen."""
    tile = Image.new("RGB", (TILE, TILE), PAPER)
    scale = TILE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.convert("RGB").resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)
    tile.paste(image, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _shortened(pen: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    shown = text
    while text and pen.textlength(shown, ImageFont.load_default(size)) > width:
        text = text[:-1]
        shown = f"{text} ..."
    return shown
