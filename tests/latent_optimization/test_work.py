"""How much there is to do, against what a run is seen to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sgool.latent_optimization.history import History
from sgool.latent_optimization.loss_strip import loss_strip
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.recorder import Progress, Recorder
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.smoothing import Smoothing
from sgool.latent_optimization.status import duration, status, time_left
from sgool.latent_optimization.top_k import TopK
from sgool.latent_optimization.trust_region import TrustRegion
from sgool.latent_optimization.work import BACKWARD, RECOMPUTATION, SCORE, SCORE_WITH_GRADIENT, Position, Ticks, Work

CALLS = 5


class Counted(torch.autograd.Function):
    """A sampler of five calls, each of which backward comes to, and makes again those that are not stored."""

    @staticmethod
    def forward(ctx: Any, noise: torch.Tensor, spend: Callable[[float], None], stored: int) -> torch.Tensor:
        ctx.spend, ctx.recomputed = spend, CALLS - stored
        return noise * 0.5

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        ctx.spend(CALLS * BACKWARD + ctx.recomputed * RECOMPUTATION)
        return gradient * 0.5, None, None


def spent(
    settings: Settings, images: int, held_out: bool, top_k: int = 1, stored: int = 0
) -> tuple[float, list[tuple[float, str, int]], History]:
    """Units that a run spends in all, what was spent at each thing told, and its history."""
    units, told, rescored = [0.0], list[tuple[float, str, int]](), [0]

    def spend(more: float) -> None:
        units[0] += more

    def generate(noise: torch.Tensor) -> torch.Tensor:
        spend(CALLS)
        return Counted.apply(noise, spend, stored)

    def evaluate(latent: torch.Tensor, index: int, iteration: int, generator: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        spend(SCORE_WITH_GRADIENT if latent.requires_grad else SCORE)
        return (latent - 3).square().flatten(1).mean(1), {}

    def on_progress(progress: Progress) -> None:
        number = rescored[0] if progress.phase == "rescore" else progress.iteration
        rescored[0] += progress.phase == "rescore"
        told.append((units[0], progress.phase, number))

    noise = torch.randn(images, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    recorder = Recorder(on_progress)
    optimize(noise, generate, evaluate, settings, recorder=recorder, held_out=evaluate if held_out else None, top=TopK(top_k))
    return units[0], told, recorder.history


@pytest.mark.parametrize(
    ("settings", "images", "held_out"),
    [
        (Settings(iterations=3), 1, False),
        (Settings(iterations=3, returned="rescored", rescoring_candidates=2), 2, False),
        (Settings(iterations=2, best_of=4), 2, False),
        (Settings(iterations=0, best_of=4), 1, True),
        (Settings(iterations=2, best_of=3, returned="rescored"), 1, True),
        (Settings(iterations=2, smoothing=Smoothing(draws=2)), 1, True),
    ],
)
def test_the_work_is_what_a_run_is_seen_to_do(settings: Settings, images: int, held_out: bool) -> None:
    work = Work(settings, images, CALLS, CALLS, held_out=held_out)
    total, told, _ = spent(settings, images, held_out)
    assert work.total == total
    # What is asked beside (held out) comes after the candidate or iteration is told, or before it.
    look = 2 * images * SCORE if held_out else 0
    assert all(abs(work.after(phase, number) - done) <= look for done, phase, number in told)
    assert work.marks == sorted(work.marks)


@pytest.mark.parametrize("stored", [0, 2, CALLS])
def test_stored_calls_are_not_made_again(stored: int) -> None:
    settings = Settings(iterations=3)
    assert Work(settings, 1, CALLS, CALLS, stored=stored).total == pytest.approx(spent(settings, 1, False, stored=stored)[0])


def test_a_call_with_gradient_is_reckoned_as_it_was_measured() -> None:
    """Against docs/gradient-cost.md, "At the size of SD 1.5": 2.05 F in all of a stored call, 3.06 of a recomputed one."""
    for stored, measured in ((1, 2.05), (0, 3.06)):
        assert 1 + Work(Settings(iterations=1), 1, 1, 1, stored=stored).backward == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(iterations=3),
        Settings(iterations=2, best_of=4),
        Settings(iterations=2, best_of=3, search_augmented=True, returned="rescored"),
    ],
)
def test_each_iterate_is_scored_once_more_for_the_best_and_those_are_decoded(settings: Settings) -> None:
    work = Work(settings, 2, CALLS, CALLS, top_k=3)
    total, told, _ = spent(settings, 2, False, top_k=3)
    assert work.total == total + 2 * 3 * SCORE / 2
    assert all(abs(work.after(phase, number) - done) <= 2 * SCORE for done, phase, number in told)
    assert work.marks == sorted(work.marks)


def test_a_trust_region_costs_at_most_what_is_expected() -> None:
    settings = Settings(iterations=4, trust_region=TrustRegion())
    total, _, _ = spent(settings, 1, False)
    assert 0.8 < total / Work(settings, 1, CALLS, CALLS).total <= 1


def test_a_noise_that_may_not_be_replaced_ends_the_search_for_the_bar_too() -> None:
    told: list[Progress] = []
    settings = Settings(iterations=0, best_of=5)
    same = torch.ones(1, 4, 8, 8)  # not white

    def evaluate(latent: torch.Tensor, *_: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return latent.flatten(1).mean(1), {}

    optimize(same, lambda noise: noise, evaluate, settings, recorder=Recorder(told.append))
    assert [each.iteration for each in told if each.phase == "search"] == [0, 4]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=40))
def test_the_bar_never_goes_back_nor_past_the_next_mark(moves: list[tuple[bool, float]]) -> None:
    marks, seen, reached = [10.0, 20.0, 30.0, 40.0], list[float](), 0
    position = Position(50.0, marks, seen.append)
    for at_mark, units in moves:
        if at_mark and reached < len(marks):
            position.reached(marks[reached])
            reached += 1
        else:
            position.add(units)
        assert seen[-1] <= (marks[reached] if reached < len(marks) else 50) / 50 + 1e-9
    assert seen == sorted(seen)


def test_the_text_says_where_the_run_is() -> None:
    settings = Settings(iterations=2, best_of=3)
    history = spent(settings, 1, True)[2]
    text = status(history, settings, "optimize", 1, share=0.5, seconds=10)
    assert text.splitlines()[0] == "Iteration 2 of 2, about 10 s left"
    best = min([row.loss[0] for row in history.rows] + [each.loss[0] for each in history.candidates])
    assert f"best loss {best:.4g}" in text
    assert f"held-out loss {history.held_out[-1].loss:.4g}" in text
    assert status(history, settings, "search", 0, share=0.0, seconds=0).startswith("Search: noise 1 of 3")
    assert status(History(1, 4), settings, "search", 0, share=0.0, seconds=0).count("\n") == 0
    assert "took 5 s" in status(history, settings, "done", 0, share=1.0, seconds=5)
    assert [duration(seconds) for seconds in (0.2, 99, 600, 9000)] == ["1 s", "99 s", "10 min", "2.5 h"]
    assert time_left(0.001, 5) == "time left: not known yet"


def test_the_strip_has_a_line_for_each_image() -> None:
    strip = loss_strip(spent(Settings(iterations=3, best_of=3), 2, False)[2], 512, 110)
    assert strip is not None
    colors = {color for _, color in strip.getcolors(512 * 110) or []}
    assert {(0, 114, 178), (213, 94, 0)} <= colors
    assert loss_strip(History(1, 4), 512, 110) is None


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 6))
def test_a_part_that_ticks_is_told_as_a_whole_however_often_it_does(ticks: list[int], expected: int) -> None:
    told = list[float]()
    part = Ticks(3.0, told.append)
    for count in ticks:
        for _ in range(count):
            part.tick(expected)
        assert sum(told) < 3.0 + 1e-9
        part.ends()
        assert sum(told) == pytest.approx(3.0)
        assert min(told) > 0
        told.clear()


def test_a_part_is_expected_to_tick_as_often_as_the_last_time() -> None:
    told = list[float]()
    part = Ticks(1.0, told.append)
    for _ in range(2):
        told.clear()
        for _ in range(9):
            part.tick(4)
        part.ends()
    assert told == pytest.approx([0.1] * 10)
