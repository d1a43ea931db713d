"""Intervals and tests for yes-or-no outcomes of the same prompts under several methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

Z = 1.959964  # of a 95 % interval


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927). ``n`` at least 1."""
    p, z2 = hits / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return middle - half, middle + half


@dataclass(frozen=True)
class Paired:
    """Two methods on the same images: how many only the first gets right, how many only the second."""

    gained: int
    lost: int
    n: int

    @property
    def difference(self) -> float:
        """Of the proportions, first minus second."""
        return (self.gained - self.lost) / self.n

    @property
    def p(self) -> float:
        """McNemar's exact two-sided test: gained and lost are as likely."""
        trials = self.gained + self.lost
        return float(binomtest(self.gained, trials).pvalue) if trials else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference: Wald's with Agresti and Min's correction (2005), half a pair added to each cell."""
        gained, lost, n = self.gained + 0.5, self.lost + 0.5, self.n + 2
        middle = (gained - lost) / n
        half = Z * math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
        return middle - half, middle + half


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Count what only one of two methods got right. Raises ``ValueError`` if they are not of the same images."""
    if len(first) != len(second) or not first:
        raise ValueError(f"There are {len(first)} and {len(second)} outcomes; a paired comparison needs the same images, at least one.")
    gained = sum(a and not b for a, b in zip(first, second, strict=True))
    lost = sum(b and not a for a, b in zip(first, second, strict=True))
    return Paired(gained, lost, len(first))


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979), in the order given."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    corrected, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = highest
    return corrected


def mean_interval(values: Sequence[float], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean (percentiles). At least one value."""
    array = np.asarray(values, dtype=float)
    rows = np.random.default_rng(seed).integers(0, len(array), (draws, len(array)))
    low, high = np.percentile(array[rows].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
