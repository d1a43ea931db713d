"""Candidates in order, and how much images differ, against numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sgool.latent_optimization.candidates import ALIKE, Candidate, Ranking, halving_plan, mean_distance, steps_of, thumbnail


def candidate(seed: int, score: float, dropped_at: int = 0, level: float | None = None) -> Candidate:
    value = (seed % 7) / 7 if level is None else level
    return Candidate(seed, 0, score, torch.full((3, 40, 40), value), dropped_at)


def test_the_finished_come_first_then_the_longest_under_way_then_the_score() -> None:
    given_order = [candidate(1, 0.1), candidate(2, math.nan), candidate(3, 9.0, 3), candidate(4, 5.0, 6), candidate(5, 0.2)]
    assert [each.seed for each in Ranking.of(given_order, 10, 20).candidates] == [5, 1, 2, 4, 3]


def test_equal_scores_keep_the_order_of_the_seeds() -> None:
    assert [each.seed for each in Ranking.of([candidate(seed, 1.0) for seed in (3, 1, 2)], 1, 1).candidates] == [1, 2, 3]


def test_the_distance_is_the_mean_over_pairs() -> None:
    images = [torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    arrays = [image.numpy() for image in images]
    expected = np.mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in itertools.combinations(arrays, 2)])
    assert mean_distance(images) == pytest.approx(expected, rel=1e-5)
    assert mean_distance(images[:1]) == math.inf


def test_images_that_hardly_differ_are_said() -> None:
    alike = [candidate(seed, 1.0, level=0.5 + seed * ALIKE / 4) for seed in range(3)]
    apart = [candidate(seed, 1.0, level=0.3 * seed) for seed in range(3)]
    assert any("hardly differ" in message for message in Ranking.of(alike, 1, 1).messages)
    assert Ranking.of(apart, 1, 1).messages == []


def test_scores_that_are_not_finite_are_said() -> None:
    assert "1 of 2 images have no finite score" in Ranking.of([candidate(1, math.nan), candidate(2, 0.0)], 1, 1).to_text(1)


def test_the_table_marks_what_is_kept_and_says_the_cost() -> None:
    text = Ranking.of([candidate(6, 0.5), candidate(3, 0.7), candidate(4, 0.6, 5)], 25, 60).to_text(1)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["*", "2", "3"]
    assert lines[1].split()[2] == "3"
    assert "dropped after step 5" in lines[3]
    assert "25 sampling steps instead of 60" in text


@given(st.integers(1, 300), st.integers(1, 100), st.integers(1, 300))
def test_a_plan_leaves_off_inside_of_runs_and_its_steps_are_counted(runs: int, steps: int, least: int) -> None:
    """The sum over each run of the steps that it makes, run by run."""
    plan = halving_plan(runs, steps, least)
    made = [steps] * runs
    for after, kept in plan:
        assert 0 < after < steps
        assert kept >= min(runs, least)
        made = [min(each, after) if number >= kept else each for number, each in enumerate(made)]
    assert [kept for _, kept in plan] == sorted({kept for _, kept in plan}, reverse=True)
    assert steps_of(runs, steps, plan) == sum(made)


def test_plans_of_few_steps_and_many_to_keep() -> None:
    assert {steps: halving_plan(8, steps, 1) for steps in (1, 2, 4, 20)} == {1: [], 2: [(1, 4)], 4: [(1, 4), (2, 2)], 20: [(5, 4), (10, 2)]}
    assert halving_plan(8, 20, 3) == [(5, 4), (10, 3)]
    assert halving_plan(8, 20, 8) == []
    assert steps_of(16, 20, halving_plan(16, 20, 1)) == 160


def test_a_thumbnail_keeps_the_shape_and_small_images() -> None:
    large, small = torch.rand(3, 1024, 512), torch.rand(3, 64, 48)
    assert thumbnail(large).shape == (3, 256, 128)
    assert torch.equal(thumbnail(small), small)
    assert thumbnail(large).mean() == pytest.approx(float(large.mean()), abs=1e-3)
