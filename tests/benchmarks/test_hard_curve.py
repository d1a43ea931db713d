"""What is derived from a pool of noises, against all subsets of a small one."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from sgool.benchmarks.common.statistics import share
from sgool.benchmarks.hard_curve import AGAINST, HEAD, _against, curves, draw, evaluations
from sgool.benchmarks.worth.curve import Pool, any_of, best_of, halved
from sgool.benchmarks.worth.methods import FEW_STEPS

RNG = np.random.default_rng(4)


def pool(noises: int = 9) -> Pool:
    final = RNG.normal(size=noises)
    early = {look: final + RNG.normal(size=noises) for look in (1, 2)}
    return Pool(RNG.random(noises) < 0.4, final, early)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9])
def test_the_best_and_the_ceiling_are_those_of_all_subsets(count: int) -> None:
    own = pool()
    subsets = [list(each) for each in itertools.combinations(range(9), count)]
    assert best_of(own, count) == pytest.approx(np.mean([own.right[max(each, key=lambda i: own.final[i])] for each in subsets]))
    assert any_of(own, count) == pytest.approx(np.mean([own.right[each].any() for each in subsets]))


def test_a_pool_of_right_or_of_wrong_images_alone() -> None:
    for value in (True, False):
        own = Pool(np.full(6, value), RNG.normal(size=6), {})
        assert best_of(own, 4) == pytest.approx(float(value))
        assert any_of(own, 4) == pytest.approx(float(value))


def test_halving_keeps_the_better_half_of_each_look_at_half_the_steps() -> None:
    own = pool(8)  # all of them: there is one subset
    left = sorted(range(8), key=lambda i: -own.early[1][i])[:4]
    left = sorted(left, key=lambda i: -own.early[2][i])[:2]
    right, steps = halved(own, 8)
    assert right == own.right[max(left, key=lambda i: own.final[i])]
    assert steps == 8 + 4 + 2 * 2  # of 4 steps each: one of eight, one of four, two of two


def test_perfect_looks_lose_nothing() -> None:
    final = np.arange(32.0)
    own = Pool(final == 31, final, {1: final, 2: final})
    assert halved(own, 32)[0] == best_of(own, 32) == 1


def test_methods_that_cost_the_same_are_counted_as_the_same() -> None:
    assert evaluations("4 steps, plain") == 4
    assert evaluations("4 steps, best of 32") == evaluations("4 steps, best of 16, then 5 iterations") == 128
    assert evaluations("4 steps, best of 128") == evaluations("4 steps, best of 64, then 21 iterations") == 512
    assert {name: evaluations(name) for name in FEW_STEPS if "10 iterations" in name} == {
        name: 4 * 31 for name in FEW_STEPS if "10 iterations" in name
    }


def test_a_method_is_compared_with_the_best_of_as_many_noises_as_it_costs() -> None:
    found = [pool(12) for _ in range(3)]
    images = [(0, 0, True), (0, 1, False), (2, 0, True)]
    right, cost, count, points, pairs, _ = _against(found, images, 4)
    assert (cost, count) == (16, 4)
    assert str(right).startswith("66.7 ")
    expected = np.mean([0.5 - best_of(found[0], 4), 1 - best_of(found[2], 4)])  # prompts count the same
    assert float(str(points).split()[0]) == pytest.approx(100 * expected, abs=0.051)
    firsts = [own.right[start + np.argmax(own.final[start : start + 4])] for own, start in ((found[0], 0), (found[0], 4), (found[2], 0))]
    gained = sum(hit and not first for (*_, hit), first in zip(images, firsts, strict=True))
    lost = sum(first and not hit for (*_, hit), first in zip(images, firsts, strict=True))
    assert pairs == f"{gained} / {lost}"


def test_the_table_and_the_plot(tmp_path: Path) -> None:
    rows = curves([pool(33) for _ in range(8)])
    assert {len(row) for row in rows} == {len(HEAD)}
    method = ["4 steps, plain", 10, share(1, 10), 4, 1, "+1.0 (-2 to +3)", "1 / 0", "1.000"]
    assert len(method) == len(AGAINST)
    draw(rows, [method], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10_000
