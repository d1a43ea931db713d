"""Results as curves."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ..common.statistics import wilson
from .tables import Outcomes, mean, rights


def accuracy_against_cost(outcomes: Outcomes, path: Path) -> None:
    """Every method as a point with its interval: what it costs, how much of it is right."""
    figure, axes = plt.subplots(figsize=(8, 5), dpi=110)
    for number, (name, rows) in enumerate(outcomes.items()):
        share, (low, high) = mean(rows, "right"), wilson(sum(rights(rows)), len(rows))
        shifted = mean(rows, "evaluations") * 1.025 ** (number % 7 - 3)  # methods of equal cost, side by side
        bars = [[max(0.0, 100 * (share - low))], [max(0.0, 100 * (high - share))]]  # never below 0 by rounding
        axes.errorbar([shifted], [100 * share], yerr=bars, fmt="os^Dv"[number // 7 % 5], capsize=2, label=name)
    axes.set(xscale="log", xlabel="model evaluations an image (a backward counts two)", ylabel="wholly right, by the judge, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, bbox_inches="tight")  # the legend of all methods is taller than the axes
    plt.close(figure)


def judge_against_score(outcomes: Outcomes, path: Path) -> None:
    """Along the iterations: does what the reward sees as better look better to the judge? Where the lines part, it is being fooled."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4), dpi=110, sharex=True)
    for name, rows in outcomes.items():
        paths = [row["path"] for row in rows if row["path"]]
        if paths:
            shortest = min(len(each) for each in paths)
            means = np.mean([each[:shortest] for each in paths], axis=0, dtype=float)
            for axes, values in zip(both, (means[:, 0], 100 * means[:, 1]), strict=True):
                axes.plot(values, label=name)
    for axes, label in zip(both, ("reward: mean similarity to the prompt", "judge: wholly right, %"), strict=True):
        axes.set(xlabel="iteration", ylabel=label)
        axes.grid(alpha=0.3)
    if both[1].lines:
        both[1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
