"""Intervals and tests, against other formulas for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sgool.benchmarks.common.markdown import table
from sgool.benchmarks.common.statistics import holm, mean_interval, mean_share, paired, share


@given(st.integers(1, 300), st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert share(hits, n) == pytest.approx((hits / n, theirs.low, theirs.high), abs=1e-6)
    assert str(share(hits, n)).startswith(f"{100 * hits / n:.1f} (")


def test_a_paired_comparison_counts_what_only_one_gets_right() -> None:
    pair = paired([True, True, True, False, False], [True, False, False, True, False])
    assert (pair.gained, pair.lost, pair.n) == (2, 1, 5)
    # By hand: 1 / 7 of a pair more, plus and minus 1.96 sqrt(4 - 1 / 7) / 7.
    assert pair.cells() == ["+20.0 (-41 to +69)", "2 / 1", "1.000"]
    assert paired([True] * 8, [False] * 8).p == pytest.approx(2 / 2**8)
    assert paired([True] * 8, [True] * 8).p == 1.0
    with pytest.raises(ValueError, match="same images"):
        paired([True], [])


def test_holm_is_monotone_and_never_below_the_value() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9]) == [0.9]
    assert holm([]) == []


def test_the_interval_of_a_mean_is_the_same_every_time() -> None:
    values = np.random.default_rng(1).normal(3, 1, 200)
    low, high = mean_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.15)
    assert (low, high) == mean_interval(values)
    assert mean_share([0.5]) == (0.5, 0.5, 0.5)


def test_a_table_has_the_same_bars_in_every_line() -> None:
    assert table(["a", "b"], [[1, "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"
