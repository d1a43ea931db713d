"""Each artistic term along images that leave its wish step by step, as a plot: seconds.

python run.py bench art_sweeps docs/img/art_sweeps.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from matplotlib.figure import Figure

from .wishes.sweeps import STEPS, sweeps

COLUMNS = 7


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="the PNG")


def main(options: argparse.Namespace) -> None:
    """Draw the plot."""
    lines: dict[str, list[tuple[str, list[float]]]] = {}
    for sweep in sweeps():
        lines.setdefault(sweep.name, []).append((sweep.of, sweep.losses()))
    rows = math.ceil(len(lines) / COLUMNS)
    figure = Figure(figsize=(1.5 * COLUMNS, 1.4 * rows), dpi=100, layout="constrained")
    grid = figure.subplots(rows, COLUMNS, sharex=True).flatten()
    for axes, (name, found) in zip(grid, lines.items(), strict=False):
        for of, losses in found:
            axes.plot([step / (STEPS - 1) for step in range(STEPS)], losses, "C1--" if of else "C0-")
        axes.set_title("texture of a reference" if name == "reference" else name, fontsize=7)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=6)
        axes.grid(alpha=0.3)
    for axes in grid[len(lines) :]:
        axes.set_axis_off()
    figure.supxlabel("as wished to far from it; dashed: of a photograph", fontsize=8)
    options.path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.path)
