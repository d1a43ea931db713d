"""Diagrams and images of a run as one image, drawn with Pillow: the pack needs nothing that ComfyUI does not bring.

Sizes are such that at 256 pixels, as wide as a node or a gallery shows it, text is still 7 pixels high and lines are wider than one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from PIL import Image, ImageDraw, ImageFont

from .plot import Curve, Panel

BACKGROUND, INK, FAINT, GRID = (255, 255, 255), (40, 44, 52), (96, 102, 114), (226, 229, 234)
# Okabe and Ito's colors, told apart by every kind of color vision (jfly.uni-koeln.de/color). Each has a mark of its own besides.
COLORS = [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (0, 0, 0), (153, 79, 0)]
WIDTH, HEIGHT = 640, 240
HEADING, TITLE, SMALL = 26, 20, 18  # sizes of type
LINE = 4
SCALE = 2  # drawn at twice the size and reduced, since Pillow's lines are not smoothed
EDGE = 14

Pen = ImageDraw.ImageDraw
Spot = tuple[float, float]


def draw(
    panels: Sequence[Panel], width: int = WIDTH, height: int = HEIGHT, heading: str = "", below: Image.Image | None = None
) -> Image.Image:
    """Draw panels one above the other.

    Args:
        panels: those without a point are left out.
        width: of the image, in pixels.
        height: of each panel, title and names not counted.
        heading: a line above them all.
        below: an RGB image to go beneath them; made as wide as they are.

    Returns:
        RGB, ``width`` wide, as high as it takes.
    """
    shown = [panel for panel in panels if any(curve.points for curve in panel.curves)]
    top = EDGE + (HEADING + EDGE if heading else 0)
    across = [x for panel in shown for curve in panel.curves for x, _ in curve.points]
    axes = [_Axes(panel, width, height, (min(across), max(across))) for panel in shown]
    whole = Image.new("RGB", (width * SCALE, (top + (sum(each.height for each in axes) or 60)) * SCALE), BACKGROUND)
    pen = ImageDraw.Draw(whole)
    if heading:
        pen.text((EDGE * SCALE, EDGE * SCALE), heading, fill=INK, font=font(HEADING, SCALE))
    if not shown:
        pen.text((EDGE * SCALE, top * SCALE), "nothing was measured", fill=FAINT, font=font(SMALL, SCALE))
    for each in axes:
        each.draw(pen, top)
        top += each.height
    whole = whole.resize((width, whole.height // SCALE), Image.Resampling.LANCZOS)
    if below is None:
        return whole
    joined = Image.new("RGB", (width, whole.height + round(below.height * width / below.width)), BACKGROUND)
    joined.paste(whole)
    joined.paste(below.resize((width, joined.height - whole.height), Image.Resampling.LANCZOS), (0, whole.height))
    return joined


def font(size: int, scale: int = 1) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font."""
    try:
        return ImageFont.load_default(size * scale)
    except (TypeError, OSError, ImportError):  # a Pillow before 10.1, or without FreeType: one small size only
        return ImageFont.load_default()


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) between ``low`` and ``high``, at most ``most + 1`` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def powers(low: float, high: float, most: int = 5) -> list[float]:
    """Logarithms of round numbers between those whose logarithms are ``low`` and ``high``, at most ``most + 1`` of them.

    1, 2 and 5 times powers of ten; over a long range powers of ten alone, over a short one what ``ticks`` has.
    """
    decades = range(math.floor(low), math.ceil(high) + 1)
    found = [power + math.log10(factor) for power in decades for factor in (1, 2, 5) if low <= power + math.log10(factor) <= high]
    if len(found) > most + 1:
        return [power for power in ticks(low, high, most) if power == round(power)]
    return found if len(found) > 1 else [math.log10(value) for value in ticks(10.0**low, 10.0**high, most) if value > 0]


def label(value: float) -> str:
    """A tick's number, short."""
    return "0" if value == 0 else f"{value:.4g}"


def flowed(words: Sequence[str], width: float, measure: Callable[[str], float], gap: float) -> list[list[int]]:
    """Numbers of ``words``, in lines no wider than ``width`` where a word fits at all."""
    lines, used = list[list[int]](), math.inf
    for number, word in enumerate(words):
        needs = measure(word)
        if used + gap + needs > width:
            lines.append([])
            used = -gap
        lines[-1].append(number)
        used += gap + needs
    return lines


class _Axes:
    """One panel: a title, the curves' names, and axes, which take numbers to pixels. ``height`` is that of all of it."""

    def __init__(self, panel: Panel, width: int, height: int, across: tuple[float, float]) -> None:
        self.panel = panel
        self.curves = [curve for curve in panel.curves if curve.points]
        words, space = panel.title.split(" "), width - 2 * EDGE
        self.title = [" ".join(words[number] for number in line) for line in flowed(words, space, partial(_width, TITLE), TITLE / 3)]
        names = [_short(curve.name) for curve in self.curves]
        told = names != ["image 1"]  # a single image's curve needs no name
        self.names = flowed(names, space, lambda name: 40 + _width(SMALL, name), 20) if told else []
        ys = [self._value(y) for curve in self.curves for _, y in curve.points]
        self.x0, self.x1 = across[0], max(across[1], across[0] + 1)
        low, high = min(ys), max(ys)
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        self.y0, self.y1 = low - margin, high + margin
        values = powers(self.y0, self.y1) if panel.logarithmic else ticks(self.y0, self.y1)
        self.marks = [(value, label(10.0**value if panel.logarithmic else value)) for value in values]
        self.left = EDGE + max(_width(SMALL, text) for text in ("iteration", *(text for _, text in self.marks))) + 10
        self.right = width - 2 * EDGE
        self.top = len(self.title) * (TITLE + 6) + len(self.names) * (SMALL + 8) + 10
        self.bottom = self.top + height - SMALL - 30
        self.height = self.top + height

    def _value(self, y: float) -> float:
        return math.log10(y) if self.panel.logarithmic else y

    def _at(self, x: float, value: float) -> Spot:
        across = self.left + (x - self.x0) / (self.x1 - self.x0) * (self.right - self.left)
        down = self.offset + self.bottom - (value - self.y0) / (self.y1 - self.y0) * (self.bottom - self.top)
        return across * SCALE, down * SCALE

    def draw(self, pen: Pen, offset: float) -> None:
        """Title, names, grid, axes and curves, from ``offset`` down."""
        self.pen, self.offset = pen, offset
        for number, line in enumerate(self.title):
            pen.text((EDGE * SCALE, (offset + number * (TITLE + 6)) * SCALE), line, fill=INK, font=font(TITLE, SCALE))
        self._draw_names()
        self._draw_grid()
        for curve in self.curves:
            self._draw_curve(curve)

    def _draw_names(self) -> None:
        for number, line in enumerate(self.names):
            x, y = float(EDGE), self.offset + len(self.title) * (TITLE + 6) + (number + 0.5) * (SMALL + 8)
            for index in line:
                curve = self.curves[index]
                color = COLORS[curve.color % len(COLORS)]
                self.pen.line([(x * SCALE, y * SCALE), ((x + 32) * SCALE, y * SCALE)], fill=color, width=LINE * SCALE)
                _mark(self.pen, ((x + 16) * SCALE, y * SCALE), curve.color, 7 * SCALE)
                name = _short(curve.name)
                self.pen.text(((x + 40) * SCALE, y * SCALE), name, fill=INK, font=font(SMALL, SCALE), anchor="lm")
                x += 60 + _width(SMALL, name)

    def _draw_grid(self) -> None:
        letters = font(SMALL, SCALE)
        for value, text in self.marks:
            _, y = self._at(self.x0, value)
            self.pen.line([(self.left * SCALE, y), (self.right * SCALE, y)], fill=GRID, width=SCALE)
            self.pen.text(((self.left - 8) * SCALE, y), text, fill=FAINT, font=letters, anchor="rm")
        below = (self.offset + self.bottom) * SCALE
        for value in ticks(self.x0, self.x1, most=8):
            if abs(value - round(value)) > 1e-6:
                continue
            x, _ = self._at(value, self.y0)
            self.pen.line([(x, below), (x, below + 5 * SCALE)], fill=FAINT, width=SCALE)
            self.pen.text((x, below + 8 * SCALE), label(value), fill=FAINT, font=letters, anchor="ma")
        self.pen.line([(self.left * SCALE, below), (self.right * SCALE, below)], fill=FAINT, width=SCALE)
        self.pen.text((EDGE * SCALE, below + 8 * SCALE), "iteration", fill=FAINT, font=letters, anchor="la")

    def _draw_curve(self, curve: Curve) -> None:
        color = COLORS[curve.color % len(COLORS)]
        spots = [self._at(x, self._value(y)) for x, y in curve.points]
        if len(spots) > 1:
            self.pen.line(spots, fill=color, width=LINE * SCALE, joint="curve")
        for (x, _), (across, down) in zip(curve.points, spots, strict=True):
            if len(spots) <= 40:
                _mark(self.pen, (across, down), curve.color, 6 * SCALE)
            if curve.mark is not None and x == curve.mark:
                ring = 12 * SCALE
                self.pen.ellipse([across - ring, down - ring, across + ring, down + ring], outline=color, width=3 * SCALE)


def _mark(pen: Pen, at: Spot, number: int, radius: float) -> None:
    """A circle, square, triangle or diamond, so that curves are told apart without their colors too."""
    (x, y), color, r = at, COLORS[number % len(COLORS)], radius
    corners: list[list[Spot]] = [
        [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
        [(x, y - 1.2 * r), (x + 1.2 * r, y + r), (x - 1.2 * r, y + r)],
        [(x, y - 1.4 * r), (x + 1.4 * r, y), (x, y + 1.4 * r), (x - 1.4 * r, y)],
    ]
    if number % 4 == 0:
        pen.ellipse([x - r, y - r, x + r, y + r], fill=color)
    else:
        pen.polygon(corners[number % 4 - 1], fill=color)


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"


def _width(size: int, text: str) -> float:
    return font(size).getlength(text)
