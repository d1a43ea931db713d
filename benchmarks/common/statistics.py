"""Intervals and tests of scipy and statsmodels, in the form in which the tables need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap, norm, permutation_test, sem
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint


class Share(NamedTuple):
    """A proportion with its 95 % interval. As text per cent: ``75.0 (62 to 84)``, or a difference's with signs: ``+5.0 (-1 to +11)``."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self:.1f}"

    def __format__(self, form: str) -> str:
        sign = "+" if form.startswith("+") else ""
        return f"{100 * self.value:{form}} ({100 * self.low:{sign}.0f} to {100 * self.high:{sign}.0f})"


def share(hits: int, n: int) -> Share:
    """With the score interval (Wilson 1927). ``n`` at least 1."""
    return Share(hits / n, *map(float, proportion_confint(hits, n, method="wilson")))


def mean_share(values: Sequence[float]) -> Share:
    """The mean of proportions, or of their differences, with the interval of ``mean_interval``."""
    return Share(float(np.mean(values)), *mean_interval(values))


class Paired(NamedTuple):
    """Two methods on the same images: how many only the first gets right, how many only the second."""

    gained: int
    lost: int
    n: int

    @property
    def p(self) -> float:
        """McNemar's exact two-sided test: gained and lost are as likely."""
        return float(mcnemar([[0, self.gained], [self.lost, 0]], exact=True).pvalue)

    @property
    def difference(self) -> Share:
        """Its interval is Wald's with half a pair added to each cell (Agresti and Min 2005, section 3)."""
        gained, lost, n = self.gained + 0.5, self.lost + 0.5, self.n + 2
        middle, half = (gained - lost) / n, norm.ppf(0.975) * np.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
        return Share((self.gained - self.lost) / self.n, float(middle - half), float(middle + half))

    def cells(self) -> list[str]:
        """Of a table: the difference in points of per cent with its interval, gained and lost, p."""
        return [f"{self.difference:+.1f}", f"{self.gained} / {self.lost}", p_text(self.p)]


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Count what only one of two methods got right. Raises ``ValueError`` if they are not of the same images."""
    if len(first) != len(second) or not len(first):
        raise ValueError(f"There are {len(first)} and {len(second)} outcomes; a paired comparison needs the same images, at least one.")
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    return Paired(int((one & ~other).sum()), int((other & ~one).sum()), len(one))


def mean_and_error(values: Sequence[float] | np.ndarray, form: str = ".3f", errors: int = 2) -> str:
    """A mean with so many of its standard errors, 0 of a single value: ``0.700 ± 0.200``."""
    error = errors * float(sem(values)) if len(values) > 1 else 0.0
    return f"{np.mean(values):{form}} ± {error:{form.lstrip('+')}}"


def p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


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


def flip_p(values: Sequence[float]) -> float:
    """p of the two-sided permutation test that a mean of paired differences is 0: of 10 000 draws of their signs, always the same."""
    if not np.any(values):
        return 1.0
    found = permutation_test((np.asarray(values, dtype=float),), np.mean, permutation_type="samples", rng=np.random.default_rng(0))
    return float(found.pvalue)
