"""Results as images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

from .results import Row
from .statistics import wilson
from .tables import Outcomes, mean, rights

ImageOf = Callable[[Row], np.ndarray]
SCALE, ROOM, TEXT = 2, 6, 16


def accuracy_against_cost(outcomes: Outcomes, path: Path) -> None:
    """Every method as a point with its interval: what it costs, how much of it is right."""
    figure, axes = plt.subplots(figsize=(8, 5), dpi=110)
    for number, (name, rows) in enumerate(outcomes.items()):
        hits, n = sum(rights(rows)), len(rows)
        low, high = wilson(hits, n)
        cost = mean(rows, "evaluations")
        shift = cost * 1.025 ** (number % 7 - 3)  # methods of equal cost, side by side
        bars = [[max(0.0, 100 * (hits / n - low))], [max(0.0, 100 * (high - hits / n))]]  # never below 0 by rounding
        axes.errorbar([shift], [100 * hits / n], yerr=bars, fmt="os^Dv"[number // 7 % 5], capsize=2, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("model evaluations an image (a backward counts two)")
    axes.set_ylabel("wholly right, by the judge, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, bbox_inches="tight")  # the legend of all methods is taller than the axes
    plt.close(figure)


def judge_against_score(outcomes: Outcomes, path: Path) -> None:
    """Along the iterations: does what the scorer sees as better look better to the judge? Where the lines part, it is being fooled."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), dpi=110, sharex=True)
    for name, rows in outcomes.items():
        paths = [row["path"] for row in rows if row["path"]]
        if not paths:
            continue
        length = min(len(each) for each in paths)
        left.plot([np.mean([each[i][0] for each in paths]) for i in range(length)], label=name)
        right.plot([100 * np.mean([each[i][1] for each in paths]) for i in range(length)], label=name)
    left.set_ylabel("scorer: mean similarity to the prompt")
    right.set_ylabel("judge: wholly right, %")
    for axes in (left, right):
        axes.set_xlabel("iteration")
        axes.grid(alpha=0.3)
    if right.lines:
        right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def strip(pairs: Sequence[tuple[Row, Row]], image_of: ImageOf, path: Path, columns: int = 2) -> None:
    """Before and after for each pair, with the judge's verdict as a green or red frame, the prompt below."""
    side = 64 * SCALE
    width, height = 2 * side + 3 * ROOM + 40, side + 2 * ROOM + TEXT
    sheet = Image.new("RGB", (columns * width, -(-len(pairs) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        left, top = number % columns * width + ROOM, number // columns * height + ROOM
        for k, row in enumerate(pair):
            image = Image.fromarray(image_of(row).transpose(1, 2, 0)).resize((side, side), Image.Resampling.NEAREST)
            x = left + k * (side + ROOM)
            draw.rectangle((x - 2, top - 2, x + side + 1, top + side + 1), fill="#2a9d3a" if row["right"] else "#d03030")
            sheet.paste(image, (x, top))
        draw.text((left, top + side + 3), pair[0]["prompt"], fill="black", font_size=9)
    sheet.save(path)
