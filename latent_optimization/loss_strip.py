"""The losses of a run so far, small, to go below its images while it runs."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from .history import History
from .plot import MOST_LINES
from .plot_drawing import BACKGROUND, COLORS, FAINT, INK, font

MARGIN = 8


def loss_strip(history: History, width: int, height: int) -> Image.Image | None:
    """Draw a line for each image: the lowest loss of the search so far, then the iterations' losses; ``None`` before there is one.

    Steps that were taken back are left out. A gray upright line stands where the iterations begin.

    Args:
        history: of a run that may be under way.
        width, height: of the drawing, RGB.
    """
    curves = [_curve(history, image) for image in range(min(history.images, MOST_LINES))]
    points = [point for curve in curves for point in curve]
    if not points:
        return None
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*points, strict=True))
    size = max(12, height // 5)
    strip = Image.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(strip)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        down = (high - y) / (high - low) if high > low else 0.5
        return MARGIN + across * (width - 2 * MARGIN), size + MARGIN + down * (height - size - 2 * MARGIN)

    if len(history.candidates) > 1 and history.rows:
        begins, _ = at(0.0, low)
        pen.line([(begins, size + MARGIN), (begins, height)], fill=FAINT)
    for number, curve in enumerate(curves):
        spots = [at(*point) for point in curve]
        if len(spots) > 1:
            pen.line(spots, fill=COLORS[number], width=max(2, height // 40), joint="curve")
        if spots:
            (x, y), radius = spots[-1], max(3, height // 30)
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=COLORS[number])
    pen.text((MARGIN, 3), f"loss {min(y for _, y in points):.4g} at best", fill=INK, font=font(size))
    return strip


def _curve(history: History, image: int) -> list[tuple[float, float]]:
    found, lowest = [], math.inf
    for candidate in history.candidates:
        lowest = min(lowest, candidate.loss[image]) if math.isfinite(candidate.loss[image]) else lowest
        if math.isfinite(lowest):
            found.append((float(candidate.number - len(history.candidates)), lowest))
    return found + [(float(iteration), loss) for iteration, loss in history.losses(image)]
