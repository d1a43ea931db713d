"""What is derived from a pool of noises, against all subsets of a small one."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sgool.benchmarks.common.jobs import Job, Store
from sgool.benchmarks.common.statistics import flip_p, share
from sgool.benchmarks.hard_curve import AGAINST, HEAD, _against, _load, _save, against, curves, draw, joined
from sgool.benchmarks.worth.curve import Pool, any_of, best_of, halved, looks, score_of_best
from sgool.benchmarks.worth.hard import draw_hard_prompts
from sgool.benchmarks.worth.methods import BEDS, COSTS, EIGHT_STEPS, FEW_STEPS, of_cost
from sgool.benchmarks.worth.prompts import chunks

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
    assert score_of_best(own, count) == pytest.approx(np.mean([own.final[each].max() for each in subsets]))


def test_a_pool_of_right_or_of_wrong_images_alone() -> None:
    for value in (True, False):
        own = Pool(np.full(6, value), RNG.normal(size=6), {})
        assert best_of(own, 4) == pytest.approx(float(value))
        assert any_of(own, 4) == pytest.approx(float(value))


def test_halving_keeps_the_better_half_of_each_look_at_half_the_steps() -> None:
    own = pool(8)  # all of them: there is one subset
    left = sorted(range(8), key=lambda i: -own.early[1][i])[:4]
    left = sorted(left, key=lambda i: -own.early[2][i])[:2]
    right, steps = halved(own, 8, 4)
    assert right == own.right[max(left, key=lambda i: own.final[i])]
    assert steps == 8 + 4 + 2 * 2  # of 4 steps each: one of eight, one of four, two of two


def test_perfect_looks_lose_nothing() -> None:
    final = np.arange(32.0)
    own = Pool(final == 31, final, {1: final, 2: final})
    assert halved(own, 32, 4)[0] == best_of(own, 32) == 1


def test_runs_of_eight_steps_are_looked_at_twice_as_late() -> None:
    assert (looks(4), looks(8)) == ([1, 2], [2, 4])
    own = Pool(np.zeros(8, dtype=bool), np.arange(8.0), {2: np.arange(8.0), 4: np.arange(8.0)})
    assert halved(own, 8, 8)[1] == 2 * (8 + 4 + 2 * 2)


def test_blocks_of_noises_are_one_pool_again(tmp_path: Path) -> None:
    first, second = pool(6), Pool(RNG.random(3) < 0.5, RNG.normal(size=3), {})
    for number, part in enumerate((first, second)):
        _save(tmp_path / "a" / f"{number}.npz", part)
    whole = joined([_load(tmp_path / "a" / f"{number}.npz") for number in range(2)])
    assert [*whole.right] == [*first.right, *second.right]
    assert [*whole.final] == [*first.final, *second.final]
    assert {look: [*scores] for look, scores in whole.early.items()} == {look: [*scores] for look, scores in first.early.items()}


@pytest.mark.parametrize("steps", BEDS)
def test_methods_that_cost_the_same_are_counted_as_the_same(steps: int) -> None:
    noises = {name.removeprefix(f"{steps} steps, "): method.noises for name, method in BEDS[steps].items()}
    assert noises["plain"] == 1
    assert noises["best of 32"] == noises["best of 16, then 5 iterations"] == noises["best of 16, then zero-order search, 16 noises"] == 32
    assert noises["best of 512"] == noises["best of 256, then 85 iterations"] == 512
    assert {count for name, count in noises.items() if name.endswith(", 10 iterations")} == {31}
    for cost in COSTS:  # an iteration more would cost three more
        assert {method.noises - cost for method in of_cost(cost).values()} <= {-1, 0, 1}
    assert all(method.steps == steps for method in BEDS[steps].values())


def test_a_method_is_compared_with_the_best_of_as_many_noises_as_it_costs() -> None:
    found = [pool(12) for _ in range(3)]
    columns = {"place": [0, 0, 2], "right": [True, False, True], "seconds": [1.0, 2.0, 3.0], "similarity": [0.5, 0.7, 0.9]}
    images = pd.DataFrame(columns)
    (n, right, cost, count, points, _, seconds, reward, best), p = _against(found, images, 4, 4)
    assert (n, cost, count, seconds, reward) == (3, 16, 4, "2.00", "0.700")
    assert str(right).startswith("66.7 ")
    assert best == f"{np.mean([score_of_best(found[prompt], 4) for prompt in (0, 2)]):.3f}"
    differences = [0.5 - best_of(found[0], 4), 1 - best_of(found[2], 4)]  # prompts count the same
    assert float(str(points).split()[0]) == pytest.approx(100 * np.mean(differences), abs=0.051)
    assert p == flip_p(differences)


def test_prompts_and_seeds_find_their_pools_and_holm_counts_the_methods(tmp_path: Path) -> None:
    names = ["4 steps, plain", "4 steps, ReNO, 10 iterations", "4 steps, zero-order search, 33 noises"]
    store, found = Store(tmp_path, {}), [Pool(np.zeros(40, dtype=bool), RNG.normal(size=40), {}) for _ in range(12)]
    for place, prompts in enumerate(chunks("report", 12, draw_hard_prompts)):
        for name in names:
            right = [name == names[1] and 10 * place + column < 12 for column in range(len(prompts))]  # all that count
            about = {"seconds": 1.0, "similarity": 0.9}
            rows = [{"prompt": prompt, "right": each, **about} for prompt, each in zip(prompts, right, strict=True)]
            store.add(Job(place, 0, prompts, FEW_STEPS[name].fingerprint()), {"rows": rows, "image": ""})
    plain, reno, zero = against(store, found, FEW_STEPS)
    assert [row[1] for row in (plain, reno, zero)] == [12, 12, 12]  # of the twenty images those of the prompts with pools
    assert (plain[7], zero[7]) == ("", "1.000")
    assert str(reno[5]) == "+100.0 (+100 to +100)"
    assert float(str(reno[7])) == pytest.approx(2 * flip_p([1.0] * 12), abs=0.0006)  # the smaller of two
    assert against(store, found, EIGHT_STEPS) == []


def test_signs_are_flipped_as_in_an_exact_test() -> None:
    values = [0.5, -0.1, 0.7, 0.3, 0.2]
    means = [abs(np.mean(np.array(signs) * values)) for signs in itertools.product((-1, 1), repeat=5)]
    assert flip_p(values) == pytest.approx(np.mean([mean >= np.mean(values) - 1e-12 for mean in means]))
    assert flip_p([0.0, 0.0]) == 1.0


def test_the_table_and_the_plot(tmp_path: Path) -> None:
    eight = pool(9)
    eight = Pool(eight.right, eight.final, {})  # none was looked at early
    rows = {4: curves([pool(33) for _ in range(8)], 4), 8: curves([eight] * 8, 8)}
    assert {len(row) for own in rows.values() for row in own} == {len(HEAD)}
    method = ["4 steps, ReNO, 10 iterations", 10, share(1, 10), 124, 31, "+1.0 (-2 to +3)", "0.5", "1.000", "1.50", "0.900", "0.910"]
    assert len(method) == len(AGAINST)
    dearer = ["4 steps, ReNO, 42 iterations", 10, share(2, 10), 508, 127, "+1.0 (-2 to +3)", "0.5", "1.000", "6.0", "0.900", "0.910"]
    draw({steps: (own, [method, dearer] if steps == 4 else []) for steps, own in rows.items()}, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10_000
