"""Which frames of a video are scored."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgool.latent_optimization.frames import CHOICES, Frames


@pytest.mark.parametrize(
    ("choice", "count", "expected"),
    [
        ("first", 1, [0]),
        ("middle", 1, [3]),
        ("last", 1, [6]),
        ("all", 1, list(range(7))),
        ("every", 3, [0, 3, 6]),
        ("spread", 1, [3]),
        ("spread", 2, [1, 5]),
        ("spread", 7, list(range(7))),
        ("spread", 9, list(range(7))),
    ],
)
def test_frames_of_seven(choice: str, count: int, expected: list[int]) -> None:
    assert Frames(choice, count).numbers(7) == expected


def test_a_long_video_costs_four_frames_by_default() -> None:
    assert Frames().numbers(81) == [10, 30, 50, 70]
    assert Frames().numbers(1) == [0]


@given(st.sampled_from(CHOICES), st.integers(1, 300), st.integers(1, 300))
def test_frames_are_in_order_and_there(choice: str, count: int, total: int) -> None:
    numbers = Frames(choice, count).numbers(total)
    assert numbers == sorted(set(numbers))
    assert 0 <= numbers[0] <= numbers[-1] < total
    if choice == "spread":  # as far apart as any other, to within a frame, and as far from the ends as from each other
        assert len(numbers) == min(count, total)
        gaps = [after - before for before, after in itertools.pairwise(numbers)]
        assert not gaps or max(gaps) - min(gaps) <= 1
        assert abs(numbers[0] - (total - 1 - numbers[-1])) <= 1


@pytest.mark.parametrize("choice", ["second", "every 2", ""])
def test_other_choices_are_refused(choice: str) -> None:
    with pytest.raises(ValueError, match="has to be one of spread, first"):
        Frames(choice)


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="count is 0; it has to be a whole number, at least 1"):
        Frames("every", 0)
