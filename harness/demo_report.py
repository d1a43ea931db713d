"""The demo's image and table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

TILE, FRAME, GAP, HEADER, TITLE = 96, 3, 10, 24, 30
PLOT_SHAPE = 560, 2 * TILE  # at most
INK, PAPER, RIGHT, WRONG = (32, 34, 38), (250, 250, 248), (36, 140, 84), (200, 70, 50)
COLUMNS = ("plain", "where people would look", "SGOOL", "where people would look", "loss")


@dataclass
class Shown:
    """What one prompt came to, before (index 0) and after (index 1) optimization."""

    prompt: str
    images: tuple[list[Image.Image], list[Image.Image]]
    saliency: tuple[list[Image.Image], list[Image.Image]]
    verdicts: tuple[list[str], list[str]]
    scores: tuple[float, float]
    plot: Image.Image
    history: str
    seconds: dict[str, float] = field(default_factory=dict)

    def right(self, which: int) -> int:
        """How many images the judge finds wholly right."""
        return sum(verdict.startswith("right") for verdict in self.verdicts[which])


def draw_image(shown: Sequence[Shown]) -> Image.Image:
    """A row for each prompt: plain images, their saliency, optimized images, theirs, and the loss. A green frame: the judge finds
    the image wholly right."""
    block = 2 * TILE
    curves = [_loss_curves(result.plot) for result in shown]
    width = GAP + 4 * (block + GAP) + max(each.width for each in curves) + GAP
    sheet = Image.new("RGB", (width, TITLE + len(shown) * (HEADER + block + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(COLUMNS):
        pen.text((GAP + column * (block + GAP), 8), title, INK, ImageFont.load_default(14))
    for row, (result, losses) in enumerate(zip(shown, curves, strict=True)):
        top = TITLE + row * (HEADER + block + GAP)
        heading = f"{result.prompt}   (right: {result.right(0)} of {len(result.verdicts[0])}, then {result.right(1)})"
        pen.text((GAP, top + 4), heading, INK, ImageFont.load_default(14))
        for which in (0, 1):
            left = GAP + 2 * which * (block + GAP)
            sheet.paste(_tiles(result.images[which], result.verdicts[which]), (left, top + HEADER))
            sheet.paste(_tiles(result.saliency[which], None), (left + block + GAP, top + HEADER))
        sheet.paste(losses, (GAP + 4 * (block + GAP), top + HEADER))
    return sheet


def _loss_curves(plot: Image.Image) -> Image.Image:
    """The first of the plot's panels, which has the losses: down to an empty line where a panel has ended."""
    end = min(plot.height, round(0.6 * plot.width))
    while end > 1 and len(plot.crop((0, end - 1, plot.width, end)).getcolors() or (0, 0)) > 1:
        end -= 1
    panel = plot.crop((0, 0, plot.width, end))
    panel.thumbnail(PLOT_SHAPE, Image.Resampling.LANCZOS)
    return panel


def _tiles(images: Sequence[Image.Image], verdicts: Sequence[str] | None) -> Image.Image:
    """Up to four images, two by two, framed by what the judge says of them."""
    out = Image.new("RGB", (2 * TILE, 2 * TILE), PAPER)
    for index, image in enumerate(images[:4]):
        color = PAPER if verdicts is None else RIGHT if verdicts[index].startswith("right") else WRONG
        framed = Image.new("RGB", (TILE - 4, TILE - 4), color)
        inner = TILE - 4 - 2 * FRAME
        framed.paste(image.resize((inner, inner), Image.Resampling.NEAREST), (FRAME, FRAME))
        out.paste(framed, ((index % 2) * TILE, (index // 2) * TILE))
    return out


def write_table(shown: Sequence[Shown], seconds: float) -> str:
    """Before and after in figures, a line for each prompt and one for all."""
    lines = [f"{'prompt':<66} {'reward':>15} {'judge: right':>15} {'model calls':>14} {'seconds':>13}"]
    images = sum(len(result.verdicts[0]) for result in shown)
    for result in shown:
        number = len(result.verdicts[0])
        lines.append(
            f"{result.prompt:<66} {result.scores[0]:>6.3f} -> {result.scores[1]:.3f} "
            f"{result.right(0):>3} -> {result.right(1)} of {number} {model_calls(result.history):>14} "
            f"{result.seconds.get('plain', 0.0):>4.1f} -> {result.seconds.get('optimized', 0.0):>5.1f}"
        )
    before, after = (sum(result.right(which) for result in shown) for which in (0, 1))
    lines.append(f"\nWholly right by the judge: {before} of {images} plain, {after} of {images} optimized, in {seconds:.0f} s in all.")
    lines.append(
        "The reward is what was optimized, so its rise says little; the judge was trained apart from it and never optimized against.\n"
        "Model calls and seconds are for all images of a prompt together. A plain run makes one call a step."
    )
    return "\n".join(lines)


def model_calls(history: str) -> str:
    """The number of model calls that a history reports, or a question mark where it does not."""
    found = re.search(r"(\d+) model calls", history)
    return found.group(1) if found else "?"
