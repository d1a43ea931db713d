"""Results as curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..common.statistics import wilson


def accuracy_against_cost(images: pd.DataFrame, path: Path) -> None:
    """Every method as a point with its interval: what it costs, how much of it is right."""
    figure = Figure(figsize=(8, 5), dpi=110)
    axes = figure.subplots()
    for number, (name, own) in enumerate(images.groupby("method", sort=False)):
        share, (low, high) = own.right.mean(), wilson(own.right.sum(), len(own))
        bars = [[max(0.0, 100 * (share - low))], [max(0.0, 100 * (high - share))]]  # never below 0 by rounding
        axes.errorbar([own.seconds.mean()], [100 * share], yerr=bars, fmt="os^Dv"[number // 7 % 5], capsize=2, label=name)
    axes.set(xscale="log", xlabel="CPU seconds for an image", ylabel="wholly right, by the judge, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, bbox_inches="tight")  # the legend of all methods is taller than the axes


def judge_against_score(images: pd.DataFrame, path: Path) -> None:
    """Along the iterations: does what the reward sees as better look better to the judge? Where the lines part, it is being fooled."""
    figure = Figure(figsize=(10, 4), dpi=110, layout="constrained")
    both = figure.subplots(1, 2, sharex=True)
    for name, paths in images[images.path.map(len) > 0].groupby("method", sort=False).path:
        shortest = min(map(len, paths))
        means = np.mean([each[:shortest] for each in paths], axis=0, dtype=float)
        for axes, values in zip(both, (means[:, 0], 100 * means[:, 1]), strict=True):
            axes.plot(values, label=name)
    for axes, label in zip(both, ("reward: mean similarity to the prompt", "judge: wholly right, %"), strict=True):
        axes.set(xlabel="iteration", ylabel=label)
        axes.grid(alpha=0.3)
    if both[1].lines:
        both[1].legend(fontsize=7)
    figure.savefig(path)
