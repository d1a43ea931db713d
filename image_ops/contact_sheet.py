"""Images side by side with a line of text below each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CELL, GAP, LINE, FONT = 256, 8, 20, 14
PAPER, INK, FAINT, MARK = (250, 250, 248), (32, 34, 38), (130, 132, 136), (0, 114, 178)


def contact_sheet(images: Sequence[Tensor], captions: Sequence[Sequence[str]], marked: int = 0) -> Tensor:
    """Draw images in rows, as nearly square as can be.

    Args:
        images: ``(3, h, w)`` in [0, 1] each; fitted into cells of 256 pixels, small ones enlarged pixel by pixel.
        captions: the lines below each.
        marked: so many of the first have a frame, and captions in full black.

    Returns:
        ``(1, H, W, 3)`` float32 in [0, 1].
    """
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    height = CELL + LINE * max(len(lines) for lines in captions) + GAP
    sheet = Image.new("RGB", (GAP + columns * (CELL + GAP), GAP + rows * (height + GAP)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    for number, (image, lines) in enumerate(zip(images, captions, strict=True)):
        left, top = GAP + number % columns * (CELL + GAP), GAP + number // columns * (height + GAP)
        fitted = _fitted(image)
        at = left + (CELL - fitted.width) // 2, top + (CELL - fitted.height) // 2
        sheet.paste(fitted, at)
        if number < marked:
            pen.rectangle((at[0] - 2, at[1] - 2, at[0] + fitted.width + 1, at[1] + fitted.height + 1), outline=MARK, width=3)
        for line_number, line in enumerate(lines):
            pen.text((left + 2, top + CELL + 3 + line_number * LINE), line, INK if number < marked else FAINT, font)
    return torch.from_numpy(np.asarray(sheet, dtype=np.float32) / 255.0)[None]


def _fitted(image: Tensor) -> Image.Image:
    levels = (image.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    tile = Image.fromarray(levels.movedim(0, -1).contiguous().numpy())
    factor = CELL / max(tile.size)
    size = max(1, round(tile.width * factor)), max(1, round(tile.height * factor))
    return tile.resize(size, Image.Resampling.NEAREST if factor > 2 else Image.Resampling.LANCZOS)
