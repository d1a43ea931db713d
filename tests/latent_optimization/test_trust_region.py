"""The trust region against numbers worked out apart from it: ratios by hand, steps taken back, and no other image's business."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sgool.latent_optimization.optimize import Result, optimize
from sgool.latent_optimization.random_streams import streams_for
from sgool.latent_optimization.regularizers import NormLikelihood
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.trust_region import TrustRegion, predicted_fall
from sgool.latent_optimization.update_rules.adam import AdamUpdate
from sgool.latent_optimization.update_rules.doodl import DOODLUpdate
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import Quadratic, linear_sampler, normal


def nocedal_and_wright(factor: float, ratio: float, longest: float) -> float:
    """Algorithm 4.1's radius, written down a second time; the step of a first-order model always reaches the boundary."""
    if ratio < 1 / 4:
        return factor / 4
    if ratio > 3 / 4:
        return max(factor, min(2 * factor, longest))
    return factor


@given(factor=st.floats(1e-6, 8), ratio=st.floats(-5, 5), predicted=st.floats(1e-9, 1e3), longest=st.floats(0.1, 10))
def test_factors_follow_algorithm_4_1(factor: float, ratio: float, predicted: float, longest: float) -> None:
    actual = ratio * predicted
    if min(abs(actual / predicted - 0.25), abs(actual / predicted - 0.75), abs(ratio)) < 1e-9:
        return  # rounding decides
    expected = nocedal_and_wright(factor, ratio, longest)
    assert TrustRegion(longest=longest).next_factor(factor, actual, predicted) == pytest.approx(expected)


def test_where_no_fall_was_promised_a_fall_is_enough() -> None:
    region = TrustRegion()
    assert region.next_factor(0.5, 1.0, -2.0) == 0.5
    assert region.next_factor(0.5, -1.0, -2.0) == 0.125
    assert region.next_factor(0.5, 0.0, 0.0) == 0.125


def parabola(latent: Tensor, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
    return latent.flatten(1).square().sum(1), {}


def walk(start: float, **changes: Any) -> tuple[list[float], Result]:
    places: list[float] = []

    def generate(x: Tensor) -> Tensor:
        places.append(round(float(x.detach().flatten()[0]), 9))
        return 1.0 * x

    given_settings = {
        "iterations": 6,
        "rule": NormalizedGradient(1.0, 0.0),
        "renormalize": "none",
        "trust_region": TrustRegion(),
        **changes,
    }
    result = optimize(torch.full((1, 1), start, dtype=torch.float64), generate, parabola, Settings(**given_settings))
    return places, result


def test_a_step_that_raised_the_loss_is_taken_back_and_the_next_is_shorter() -> None:
    # x^2 from 0.4 by steps of 1: -0.6 is higher, so back and by 1/4 to 0.15, where 0.1375 of 0.2 promised came: the length is kept. On to
    # -0.1 (0.0125 of 0.075: 0.17, shorter from here), by 1/16 to -0.0375, to 0.025 (0.0008 of 0.0047: shorter), by 1/64 to 0.009375.
    places, result = walk(0.4)
    assert places == pytest.approx([0.4, -0.6, 0.15, -0.1, -0.0375, 0.025, 0.009375])
    rows = result.history.rows
    assert [row.rejected[0] for row in rows] == [False, True, False, False, False, False, False]
    assert [row.step_factor[0] for row in rows] == [1, 1 / 4, 1 / 4, 1 / 16, 1 / 16, 1 / 64, 1 / 64]
    assert [row.predicted_fall[0] for row in rows[:3]] == pytest.approx([0.8, 0.2, 0.075])
    assert [row.fall[0] for row in rows[1:4]] == pytest.approx([0.16 - 0.36, 0.16 - 0.0225, 0.0225 - 0.01])
    assert math.isnan(rows[0].fall[0])
    assert math.isnan(rows[-1].predicted_fall[0])
    assert "steps that lowered the loss and were kept: 5 of 6" in result.history.to_text()
    assert result.history.cost.sampler_backwards == 5  # nothing is differentiated where the step is taken back
    assert result.history.cost.evaluations == 12  # 6 under the old augmentations, 1 + 5 under new ones


def test_steps_grow_where_the_gradient_holds() -> None:
    places, _ = walk(100.0, rule=NormalizedGradient(1.0, 0.0), trust_region=TrustRegion(longest=4.0), iterations=4)
    assert places == [100.0, 99.0, 97.0, 93.0, 89.0]


def test_a_last_step_that_is_taken_back_is_not_returned() -> None:
    for returned in ("last", "best", "rescored"):
        _, result = walk(0.4, iterations=1, returned=returned)
        assert float(result.noise) == 0.4
        assert float(result.latent) == 0.4
        assert result.history.returned_iteration == [0]


def test_the_same_augmentations_judge_both_ends_of_a_step() -> None:
    noise, target = normal(1, 5), normal(1, 5, seed=1)
    settings = Settings(iterations=2, rule=NormalizedGradient(0.05, 0.0), trust_region=TrustRegion(), renormalize="none")
    objective = Quadratic(target, jitter=0.5)
    history = optimize(noise, linear_sampler(), objective, settings, seed=3).history
    stream = streams_for(noise, 3)[0].augmentations
    moved = target + 0.5 * torch.randn((1, 5), generator=stream).double()  # what iteration 0 draws

    def loss(x: Tensor) -> Tensor:
        return ((2 * x + 0.25 - moved) ** 2).mean()

    leaf = noise.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    step = -0.05 * gradient / gradient.square().mean().sqrt()
    assert history.rows[0].loss == pytest.approx([float(loss(noise))])
    assert history.rows[0].predicted_fall == pytest.approx([-float((gradient * step).sum())])
    assert history.rows[1].fall == pytest.approx([float(loss(noise) - loss(noise + step))])


def test_the_regularizer_is_part_of_what_has_to_fall() -> None:
    noise = normal(1, 8)
    regularizer = NormLikelihood(weight=100.0)
    settings = Settings(
        iterations=1, rule=NormalizedGradient(0.01, 0.0), trust_region=TrustRegion(), renormalize="none", regularizer=regularizer
    )
    history = optimize(noise, linear_sampler(), Quadratic(normal(1, 8, seed=1)), settings).history
    first, second = history.rows
    expected = first.loss[0] - second.loss[0] + 100 * (first.regularizer[0] - float(regularizer(optimized_noise(settings, noise))))
    assert second.fall[0] == pytest.approx(expected)
    assert second.fall[0] / first.predicted_fall[0] == pytest.approx(1, abs=0.2)


def optimized_noise(settings: Settings, noise: Tensor) -> Tensor:
    return optimize(noise, linear_sampler(), Quadratic(normal(1, 8, seed=1)), settings).noise


@pytest.mark.parametrize("rule", [NormalizedGradient(0.5, 0.9), AdamUpdate(0.3), DOODLUpdate(clip=0.1)])
def test_what_is_kept_never_rises_and_images_do_not_see_each_other(rule: Any) -> None:
    start = normal(3, 2)
    start[1] *= 10  # so that they are rejected at different times

    def valley(latent: Tensor, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = latent.unbind(1)
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2, {}  # Rosenbrock's

    settings = Settings(iterations=25, rule=rule, trust_region=TrustRegion(longest=4.0), renormalize="none")
    together = optimize(start, linear_sampler(1.0, 0.0), valley, settings)
    for index in range(3):
        alone = optimize(start[index : index + 1], linear_sampler(1.0, 0.0), valley, settings)
        assert torch.equal(alone.noise[0], together.noise[index])
        kept = [row.loss[index] for row in together.history.rows if not row.rejected[index]]
        assert kept == sorted(kept, reverse=True)
        assert kept[-1] < kept[0]
    taken_back = [sum(row.rejected[index] for row in together.history.rows) for index in range(3)]
    assert min(taken_back) > 0


@examples(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), shape=st.sampled_from([(2, 5), (1, 4, 3, 3), (2, 2, 2, 3, 3)]), norm=st.sampled_from(["initial", "none"]))
def test_the_promise_is_the_directional_derivative(seed: int, shape: tuple[int, ...], norm: str) -> None:
    """Against a central difference, renormalization included."""
    noise, objective = normal(*shape, seed=seed), Quadratic(normal(*shape, seed=seed + 1))
    settings = Settings(iterations=1, rule=NormalizedGradient(1e-6, 0.0), trust_region=TrustRegion(), renormalize=norm)
    result = optimize(noise, linear_sampler(), objective, settings)
    move = result.noise - noise

    def loss(x: Tensor) -> Tensor:
        return torch.cat([objective(2 * x[i : i + 1] + 0.25, i, 0, None)[0] for i in range(len(x))])

    slope = (loss(noise - 100 * move) - loss(noise + 100 * move)) / 200
    assert result.history.rows[0].predicted_fall == pytest.approx(slope.tolist(), rel=1e-4)


def test_predicted_fall_is_a_product_for_each_image() -> None:
    gradient, step = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]]), torch.tensor([[[-1.0, 1.0]], [[-2.0, 5.0]]])
    assert predicted_fall(gradient, step) == [-1.0, 6.0]


def test_a_loss_that_is_not_finite_is_a_failure_not_a_rejection() -> None:
    def cliff(latent: Tensor, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return -latent.flatten() * (math.nan if float(latent.detach()) > 1.5 else 1.0), {}

    settings = Settings(iterations=3, rule=NormalizedGradient(1.0, 0.0), trust_region=TrustRegion(), renormalize="none", returned="best")
    result = optimize(torch.zeros(1, 1), lambda x: 1.0 * x, cliff, settings)
    assert [row.finite[0] for row in result.history.rows] == [True, True, False, True]
    assert [row.rejected[0] for row in result.history.rows] == [False] * 4
    assert float(result.noise) == pytest.approx(1.5)


def test_poor_may_not_be_above_good() -> None:
    with pytest.raises(ValueError, match=r"poor is 0\.8 and good is 0\.5; poor has to be at most good\."):
        TrustRegion(poor=0.8, good=0.5)
