"""The course of an optimization as an image, drawn with Pillow: the pack needs nothing that ComfyUI does not bring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from PIL import Image, ImageDraw, ImageFont

from .history import History, Row

BACKGROUND, INK, FAINT, GRID = (255, 255, 255), (40, 44, 52), (120, 126, 138), (226, 229, 234)
# Okabe and Ito's colors, told apart by every kind of color vision.
COLORS = [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (110, 110, 110), (153, 79, 0)]
SCALE = 2  # drawn at twice the size and reduced, since Pillow's lines are not smoothed
MOST_LINES = 8
LOSSES, TAKEN_BACK = "loss of each image (ring: the one returned)", "; steps that were taken back are left out"
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
    names = sorted({name for row in history.rows for name in row.parts})
    kinds = dict.fromkeys(name.rpartition(": ")[2] for name in names if ": " in name)
    return [
        Panel(LOSSES + taken_back, _losses(history)),
        Panel("change of the loss since the start, each step judged under the same augmentations", _falls(history)),
        Panel("parts of the loss, mean over images", _parts(history, {name: name for name in names if ": " not in name})),
        *[Panel(TITLES.get(kind, kind), _parts(history, _of_kind(names, kind))) for kind in kinds],
        Panel("norm of the gradient in the noise", _gradients(history), logarithmic=True),
        Panel("held-out loss, before and after (ring: the image returned)", _held_out(history)),
    ]


def draw(panels: Sequence[Panel], width: int = 960, height: int = 300, heading: str = "") -> Image.Image:
    """Draw panels one above the other.

    Args:
        panels: those without a point are left out.
        width: of the image, in pixels.
        height: of each panel.
        heading: a line above them all.

    Returns:
        RGB, ``width`` wide, ``height`` for each panel and a little for the heading.
    """
    shown = [panel for panel in panels if any(curve.points for curve in panel.curves)]
    top = 44 if heading else 8
    image = Image.new("RGB", (width * SCALE, (top + max(1, len(shown)) * height) * SCALE), BACKGROUND)
    pen = ImageDraw.Draw(image)
    if heading:
        pen.text((20 * SCALE, 14 * SCALE), heading, fill=INK, font=_font(17))
    if not shown:
        pen.text((20 * SCALE, (top + 20) * SCALE), "nothing was measured", fill=FAINT, font=_font(14))
    across = [x for panel in shown for curve in panel.curves for x, _ in curve.points]
    for index, panel in enumerate(shown):
        _Axes(pen, (0, top + index * height, width, height), panel, (min(across), max(across))).draw()
    return image.resize((width, image.height // SCALE), Image.Resampling.LANCZOS)


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


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size * SCALE)
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


def label(value: float) -> str:
    """A tick's number, short."""
    return "0" if value == 0 else f"{value:.4g}"


class _Axes:
    """One panel's axes: from numbers to pixels, and the drawing."""

    def __init__(self, pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], panel: Panel, across: tuple[float, float]) -> None:
        left, top, width, height = box
        self.pen = pen
        self.panel = panel
        self.left, self.right = left + 74, left + width - 190
        self.top, self.bottom = top + 34, top + height - 34
        self.title_at = (left + 20, top + 8)
        ys = [self._value(y) for curve in panel.curves for _, y in curve.points]
        self.x0, self.x1 = across[0], max(across[1], across[0] + 1)
        low, high = min(ys), max(ys)
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        self.y0, self.y1 = low - margin, high + margin

    def _value(self, y: float) -> float:
        return math.log10(y) if self.panel.logarithmic else y

    def _at(self, x: float, value: float) -> tuple[float, float]:
        across = self.left + (x - self.x0) / (self.x1 - self.x0) * (self.right - self.left)
        down = self.bottom - (value - self.y0) / (self.y1 - self.y0) * (self.bottom - self.top)
        return across * SCALE, down * SCALE

    def draw(self) -> None:
        """Grid, axes, curves and names."""
        self.pen.text((self.title_at[0] * SCALE, self.title_at[1] * SCALE), self.panel.title, fill=INK, font=_font(14))
        self._grid()
        for curve in self.panel.curves:
            self._curve(curve)
        self._names()

    def _grid(self) -> None:
        font = _font(12)
        for value in ticks(self.y0, self.y1):
            _, y = self._at(self.x0, value)
            self.pen.line([(self.left * SCALE, y), (self.right * SCALE, y)], fill=GRID, width=SCALE)
            shown = f"{10.0**value:.2g}" if self.panel.logarithmic else label(value)
            self.pen.text(((self.left - 8) * SCALE, y), shown, fill=FAINT, font=font, anchor="rm")
        for value in ticks(self.x0, self.x1, most=10):
            if abs(value - round(value)) > 1e-6:
                continue
            x, _ = self._at(value, self.y0)
            self.pen.line([(x, self.bottom * SCALE), (x, (self.bottom + 5) * SCALE)], fill=FAINT, width=SCALE)
            self.pen.text((x, (self.bottom + 8) * SCALE), label(value), fill=FAINT, font=font, anchor="ma")
        self.pen.line([(self.left * SCALE, self.bottom * SCALE), (self.right * SCALE, self.bottom * SCALE)], fill=FAINT, width=SCALE)
        self.pen.text(((self.right + 8) * SCALE, self.bottom * SCALE), "iteration", fill=FAINT, font=font, anchor="lm")

    def _curve(self, curve: Curve) -> None:
        color = COLORS[curve.color % len(COLORS)]
        spots = [self._at(x, self._value(y)) for x, y in curve.points]
        if len(spots) > 1:
            self.pen.line(spots, fill=color, width=2 * SCALE, joint="curve")
        radius = (2.5 if len(spots) <= 60 else 1) * SCALE
        for (x, _), (across, down) in zip(curve.points, spots, strict=True):
            self.pen.ellipse([across - radius, down - radius, across + radius, down + radius], fill=color)
            if curve.mark is not None and x == curve.mark:
                ring = 6 * SCALE
                self.pen.ellipse([across - ring, down - ring, across + ring, down + ring], outline=color, width=2 * SCALE)

    def _names(self) -> None:
        font = _font(12)
        for index, curve in enumerate(curve for curve in self.panel.curves if curve.points):
            y = (self.top + 6 + 20 * index) * SCALE
            color = COLORS[curve.color % len(COLORS)]
            self.pen.line([((self.right + 14) * SCALE, y), ((self.right + 32) * SCALE, y)], fill=color, width=3 * SCALE)
            name = curve.name if len(curve.name) <= 22 else curve.name[:21] + "…"
            self.pen.text(((self.right + 38) * SCALE, y), name, fill=INK, font=font, anchor="lm")
