"""Intervals and tests of scipy and statsmodels, in the form in which the tables need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

Z = float(norm.ppf(0.975))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927). ``n`` at least 1."""
    low, high = proportion_confint(hits, n, method="wilson")
    return float(low), float(high)


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
        return float(mcnemar([[0, self.gained], [self.lost, 0]], exact=True).pvalue)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference: Wald's with half a pair added to each cell (Agresti and Min 2005, section 3)."""
        gained, lost, n = self.gained + 0.5, self.lost + 0.5, self.n + 2
        middle, half = (gained - lost) / n, Z * float(np.sqrt(gained + lost - (gained - lost) ** 2 / n)) / n
        return middle - half, middle + half


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Count what only one of two methods got right. Raises ``ValueError`` if they are not of the same images."""
    if len(first) != len(second) or not first:
        raise ValueError(f"There are {len(first)} and {len(second)} outcomes; a paired comparison needs the same images, at least one.")
    both = list(zip(first, second, strict=True))
    return Paired(sum(a and not b for a, b in both), sum(b and not a for a, b in both), len(both))


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979), in the order given."""
    return [float(p) for p in multipletests(values, method="holm")[1]] if values else []


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean (percentiles, 2000 draws, always the same). At least one value."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return float(array[0]), float(array[0])
    found = bootstrap((array,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return float(found.low), float(found.high)
