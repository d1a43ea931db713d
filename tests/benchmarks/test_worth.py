"""What the benchmark of the method counts with: prompts, near misses, statistics, results on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sgool.benchmarks.worth.near_misses import near_misses
from sgool.benchmarks.worth.prompts import HALVES, KINDS, PLACES, draw_prompts, half_of, kind_of, places
from sgool.benchmarks.worth.results import Results
from sgool.benchmarks.worth.statistics import holm, mean_interval, paired, wilson
from sgool.demo.captions import held_out, parse


def test_the_halves_share_no_prompt_and_no_training_caption() -> None:
    tune, report = ({p.text for p in draw_prompts(half, 60)} for half in HALVES)
    assert not tune & report
    assert all(held_out(text) for text in tune | report)
    assert all(half_of(text) == "tune" for text in tune)


def test_kinds_come_in_turn_and_more_prompts_begin_with_the_same_ones() -> None:
    few, many = draw_prompts("report", 12), draw_prompts("report", 60)
    assert many[:12] == few
    assert [p.kind for p in many[:5]] == list(KINDS)
    assert all(kind_of(parse(p.text)) == p.kind for p in many)


def test_a_second_seed_is_another_noise_for_the_same_prompts() -> None:
    first, second = draw_prompts("tune", 12), draw_prompts("tune", 12, 1)
    assert [p.text for p in first] == [p.text for p in second]
    assert not {p.seed for p in first} & {p.seed for p in second}
    assert places(3, 2)[:3] == [*places(2, 2)[:2], 2]
    assert places(3, 2)[3] == places(2, 2)[2] == PLACES
    assert draw_prompts("tune", 5, 1) == second[:5]


@pytest.mark.parametrize(
    ("prompt", "wrong"),
    [
        ("a red circle and a blue square", ["a blue square", "a red circle", "a red square and a blue circle"]),
        ("a cat left of a dog", ["a dog", "a cat", "a dog left of a cat", "a cat right of a dog"]),
        ("a red circle", []),
    ],
)
def test_near_misses_are_wrong_in_one_thing(prompt: str, wrong: list[str]) -> None:
    assert near_misses(prompt) == wrong


def test_the_judge_would_not_take_a_near_miss_for_the_prompt() -> None:
    for prompt in draw_prompts("tune", 40):
        assert prompt.text not in near_misses(prompt.text)
        assert near_misses(prompt.text)


@given(st.integers(1, 300), st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_a_paired_comparison_counts_what_only_one_gets_right() -> None:
    pair = paired([True, True, True, False, False], [True, False, False, True, False])
    assert (pair.gained, pair.lost, pair.n) == (2, 1, 5)
    assert pair.difference == pytest.approx(0.2)
    assert pair.p == pytest.approx(1.0)
    assert paired([True] * 8, [False] * 8).p == pytest.approx(2 / 2**8)
    low, high = pair.interval
    assert low < 0.2 < high
    with pytest.raises(ValueError, match="same images"):
        paired([True], [])


def test_holm_is_monotone_and_never_below_the_value() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9]) == [0.9]


def test_the_interval_of_a_mean_is_the_same_every_time() -> None:
    values = np.random.default_rng(1).normal(3, 1, 200)
    low, high = mean_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.15)
    assert (low, high) == mean_interval(values)


def test_results_survive_a_cut_off_line_and_do_not_mix_weights(tmp_path: Path) -> None:
    results = Results(tmp_path, "tune", "w1")
    images = np.arange(2 * 3 * 64 * 64, dtype=np.uint8).reshape(2, 3, 64, 64)
    results.add("m", 0, [{"right": True}, {"right": False}], images)
    with (tmp_path / "tune.jsonl").open("a") as file:
        file.write(json.dumps({"method": "m", "weights": "w1", "place": 2})[:-9])
    again = Results(tmp_path, "tune", "w1")
    rows = again.of("m", [0, 1])
    assert rows is not None
    assert [row["right"] for row in rows] == [True, False]
    assert (again.image(rows[1]) == images[1]).all()
    assert again.of("m", [0, 1, 2]) is None
    again.add("m", 2, [{"right": True}], images[:1])
    assert Results(tmp_path, "tune", "w1").of("m", [0, 1, 2]) is not None
    assert Results(tmp_path, "tune", "w2").of("m", [0]) is None
