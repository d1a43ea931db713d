"""Losses and gradients that are not finite: undone, halved, given up, and never another image's business."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sgool.latent_optimization.batch import Batch
from sgool.latent_optimization.optimize import Result, optimize
from sgool.latent_optimization.settings import Settings, Stopping
from sgool.latent_optimization.steps import Steps
from sgool.latent_optimization.update_rules.adam import AdamUpdate
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import Quadratic, linear_sampler, normal

# One element, no momentum, no renormalization: a step of .1 is a step of .1.
WALK = Settings(iterations=6, rule=NormalizedGradient(0.1, 0.0), renormalize="none", returned="last")


class Cliff:
    """Loss ``-x``: it falls for ever, until ``x`` passes the edge of its image, where the loss (or only its gradient) is NaN."""

    def __init__(self, *edges: float, gradient_only: bool = False) -> None:
        self.edges, self.gradient_only = edges, gradient_only

    def __call__(self, latent: Tensor, index: int, iteration: int, generator: Any) -> tuple[Tensor, dict[str, Tensor]]:
        beyond = float(latent.detach()) > self.edges[index]
        if beyond and self.gradient_only:
            return -latent.flatten() + (latent * 0).flatten().sqrt(), {}  # 0 * infinity in the gradient only
        return -latent.flatten() * (float("nan") if beyond else 1), {}


def walk(objective: Any, settings: Settings = WALK, start: float = 0.0, images: int = 1) -> tuple[Result, list[list[float]]]:
    places: list[list[float]] = []

    def generate(x: Tensor) -> Tensor:
        places.append([round(float(number), 6) for number in x.detach().flatten()])
        return 1.0 * x

    return optimize(torch.full((images, 1), start), generate, objective, settings), places


@pytest.mark.parametrize("gradient_only", [False, True])
def test_the_step_is_undone_and_further_steps_are_halved(gradient_only: bool) -> None:
    result, places = walk(Cliff(0.24, gradient_only=gradient_only))
    # .3 fails: back to .2 and on by .05; .25 fails: back to .2 and on by .025; then steps of .025 from there, and the last fails again
    assert [place[0] for place in places] == [0.0, 0.1, 0.2, 0.3, 0.25, 0.225, 0.25]
    factors = [row.step_factor[0] for row in result.history.rows]
    assert factors == [1, 1, 1, 0.5, 0.25, 0.25, 0.25]
    if gradient_only:
        assert [row.finite[0] for row in result.history.rows] == [True, True, True, False, False, True, True]
        return
    assert [row.finite[0] for row in result.history.rows] == [True, True, True, False, False, True, False]
    assert float(result.noise) == pytest.approx(0.225)
    assert result.history.returned_iteration == [5]
    assert result.history.rows[5].loss == pytest.approx([-0.225])
    assert result.messages == [
        "Image 1: the loss or gradient was not finite (iteration 3, 4, 6); the step before was undone and further steps halved."
    ]


def test_after_a_few_the_image_stops_with_its_best_so_far() -> None:
    result, places = walk(Cliff(0.2005), Settings(iterations=9, rule=WALK.rule, renormalize="none", stopping=Stopping(max_failures=2)))
    assert [place[0] for place in places] == [0.0, 0.1, 0.2, 0.3, 0.25]
    assert float(result.noise) == pytest.approx(0.2)
    assert result.history.stopped == ["its loss or gradient was not finite 2 times in a row (iteration 4)"]
    assert result.messages == [
        "Image 1 stopped early: its loss or gradient was not finite 2 times in a row (iteration 4). Iteration 2 is returned."
    ]


def test_the_other_images_do_not_notice() -> None:
    alone, _ = walk(Cliff(9, 9, 9), images=3)
    result, places = walk(Cliff(9, 0.24, 0.06), images=3)
    assert torch.equal(result.noise[0], alone.noise[0])
    assert float(result.noise[1]) == pytest.approx(0.225)
    assert float(result.noise[2]) == pytest.approx(0.05)
    assert result.messages[0].startswith("Image 2: the loss or gradient was not finite")
    assert result.messages[1].startswith("Image 3 stopped early")
    assert all(abs(place[2]) <= 0.1 for place in places)


def test_a_failed_image_is_put_back_where_its_numbers_were_finite() -> None:
    batches: list[Tensor] = []

    def generate(x: Tensor) -> Tensor:
        batches.append(x.detach().clone())
        return 1.0 * x

    settings = Settings(iterations=5, rule=WALK.rule, renormalize="none", stopping=Stopping(max_failures=1))
    result = optimize(torch.zeros(2, 1), generate, Cliff(9, 0.15), settings)
    assert [round(float(batch[1]), 6) for batch in batches] == [0.0, 0.1, 0.2, 0.1, 0.1, 0.1]
    assert float(result.noise[0]) == pytest.approx(0.5)
    assert float(result.noise[1]) == pytest.approx(0.1)
    assert "was not finite once (iteration 2)" in result.messages[0]


def test_without_any_finite_loss_the_noise_comes_back_as_given() -> None:
    for settings in (
        WALK,
        Settings(iterations=0),
        Settings(iterations=0, best_of=3),
        Settings(iterations=2, best_of=3, returned="rescored"),
    ):
        result, _ = walk(Cliff(-99), settings, start=0.5)
        assert float(result.noise) == 0.5
        assert result.messages[0].startswith("Image 1: no finite loss was found, so its noise is returned as it was given. Look at what")


def test_the_first_noise_may_fail_and_be_tried_again() -> None:
    attempts: list[float] = []

    def unlucky(latent: Tensor, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        attempts.append(float(latent.detach()))
        return -latent.flatten() * (float("inf") if len(attempts) == 1 else 1), {}

    result, places = walk(unlucky, start=1.0)
    assert [place[0] for place in places[:3]] == [1.0, 1.0, 1.05]
    assert float(result.noise) == pytest.approx(1.25)


def test_a_sampler_that_breaks_down_is_a_failure_too_and_is_not_scored() -> None:
    objective = Quadratic(torch.full((2, 1), 5.0))

    def generate(x: Tensor) -> Tensor:
        return torch.where(x > 0.25, torch.nan, x)

    settings = Settings(iterations=4, rule=WALK.rule, renormalize="none", returned="best")
    result = optimize(torch.tensor([[0.0], [0.2]]), generate, objective, settings)
    assert bool(result.latent.isfinite().all())
    assert (1, 1) not in objective.calls  # .3
    assert result.history.rows[1].finite == [True, False]


def test_a_gradient_that_breaks_down_in_the_sampler_is_a_failure() -> None:
    def generate(x: Tensor) -> Tensor:
        latent = 1.0 * x
        if latent.requires_grad:
            latent.register_hook(lambda gradient: torch.where(x.detach() > 0.15, torch.nan, gradient))
        return latent

    settings = Settings(iterations=3, rule=WALK.rule, renormalize="none")
    result = optimize(torch.tensor([[0.0], [-1.0]]), generate, Quadratic(torch.full((2, 1), 5.0)), settings)
    assert [row.finite for row in result.history.rows] == [[True, True], [True, True], [False, True], [True, True]]
    assert float(result.noise[1]) == pytest.approx(-0.7)
    assert float(result.noise[0]) == pytest.approx(0.15)


def test_a_failure_leaves_the_momentum_as_it_was() -> None:
    first, second, zero = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.zeros(2, 2)
    for rule in (NormalizedGradient(0.1, 0.9), AdamUpdate(0.1)):
        settings, both = Settings(rule=rule, renormalize="none"), [True, True]
        batch = Batch(2, settings)
        steps = Steps(zero, settings, [])
        known: dict[str, Any] = {"losses": [0.0, 0.0], "regularizer": [0.0, 0.0], "rejected": [False, False]}
        steps.take(first, both, both, batch, **known)
        before = steps.noise
        steps.take(first, [True, False], both, batch, **known)
        assert steps.changed == both
        assert torch.equal(steps.noise[1], before[1] / 2)  # its last step again, at half the size
        steps.take(second, both, both, batch, **known)
        plain = Steps(zero, settings, [])
        for gradient in (first, second):
            plain.take(gradient, both, both, batch, **known)
        assert torch.equal(steps.noise[1] - before[1] / 2, (plain.noise[1] - before[1]) / 2)
        assert not torch.equal(steps.noise[0], plain.noise[0])


def test_a_loss_that_is_not_finite_sends_nothing_back_through_the_sampler() -> None:
    def generate(x: Tensor) -> Tensor:
        return x + 0 * x.mean(dim=0, keepdim=True)  # a NaN in one image's gradient would reach all

    result = optimize(torch.zeros(2, 1), generate, Cliff(9, 0.05, gradient_only=True), WALK)
    assert float(result.noise[0]) == pytest.approx(0.6)


def test_linear_problem_is_unhurt_by_huge_numbers() -> None:
    result = optimize(normal(1, 4), linear_sampler(1e18), Quadratic(normal(1, 4)), Settings(iterations=2))
    assert result.messages == []
