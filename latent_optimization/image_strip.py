"""Images along the way of a run in a row, to go beneath its curves."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from .along_the_way import GIVEN, SmallImage
from .plot_drawing import BACKGROUND, COLORS, EDGE, FAINT, INK, SMALL, TITLE, WIDTH, font

LARGEST, GAP = 150, 10
HEADING = "images along the way, by iteration (frame: the one returned)"


def image_strip(rows: Sequence[Sequence[SmallImage]], width: int = WIDTH) -> Image.Image | None:
    """A row for each image of a batch; ``None`` where there is none.

    Frames have the colors of the images' curves. Images much smaller than their place are enlarged pixel by pixel.
    """
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        return None
    cell = min(LARGEST, (width - 2 * EDGE - (columns - 1) * GAP) // columns)
    tall = max(_fitted(each.image, cell).height for row in rows for each in row) + SMALL + 2 * GAP
    strip = Image.new("RGB", (width, TITLE + 14 + len(rows) * tall + EDGE), BACKGROUND)
    pen = ImageDraw.Draw(strip)
    pen.text((EDGE, 2), HEADING, fill=INK, font=font(TITLE))
    for number, row in enumerate(rows):
        top = TITLE + 14 + number * tall
        for place, each in enumerate(row):
            image, left = _fitted(each.image, cell), EDGE + place * (cell + GAP)
            strip.paste(image, (left, top))
            if each.returned:
                box = (left - 4, top - 4, left + image.width + 3, top + image.height + 3)
                pen.rectangle(box, outline=COLORS[number % len(COLORS)], width=4)
            name = "given" if each.iteration == GIVEN else str(each.iteration)
            middle = left + image.width / 2, top + image.height + 6
            pen.text(middle, name, fill=INK if each.returned else FAINT, font=font(SMALL), anchor="ma")
    return strip


def _fitted(image: Tensor, side: int) -> Image.Image:
    tile = Image.fromarray(image.movedim(0, -1).contiguous().numpy())
    factor = side / max(tile.size)
    size = max(1, round(tile.width * factor)), max(1, round(tile.height * factor))
    return tile.resize(size, Image.Resampling.NEAREST if factor > 2 else Image.Resampling.LANCZOS)
