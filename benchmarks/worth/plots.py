"""Results as curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure


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
