"""Averaged gradients against autograd of the mean loss, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.random_streams import streams_for
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.smoothing import Smoothing
from sgool.latent_optimization.trust_region import TrustRegion
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import Quadratic, normal

RULE = NormalizedGradient(0.1, 0.0)


def sampler(noise: Tensor) -> Tensor:
    return torch.sin(3 * noise) + 0.1 * noise.roll(1, -1) * noise


def test_it_is_the_gradient_of_the_mean_loss() -> None:
    noise, target = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    settings = Settings(iterations=1, rule=RULE, smoothing=Smoothing(draws=3, sigma=0.4), renormalize="none")
    result = optimize(noise, sampler, Quadratic(target, jitter=0.5), settings, seed=5)
    streams = streams_for(noise, 5)
    moved = target + 0.5 * torch.stack([torch.randn((1, 3, 4), generator=each.augmentations)[0] for each in streams]).double()
    leaf = noise.clone().requires_grad_()
    places = [leaf]
    for _ in range(3):
        drawn = torch.stack([torch.randn((3, 4), generator=each.nearby) for each in streams]).double()
        places.append((leaf + 0.4 * drawn) / 1.16**0.5)
    mean = torch.stack([((sampler(place) - moved) ** 2).flatten(1).mean(1) for place in places]).mean(0)
    (gradient,) = torch.autograd.grad(mean.sum(), leaf)
    expected = noise - 0.1 * gradient / gradient.square().mean((1, 2), keepdim=True).sqrt()
    assert float((result.noise - expected).abs().max()) < 1e-12
    assert result.history.rows[0].gradient_norm == pytest.approx(gradient.flatten(1).norm(dim=1).tolist())


def test_each_draw_costs_a_run_a_backward_and_an_evaluation() -> None:
    settings = Settings(iterations=2, rule=RULE, smoothing=Smoothing(draws=3))
    result = optimize(normal(1, 5), sampler, Quadratic(normal(1, 5, seed=1)), settings)
    cost = result.history.cost
    assert (cost.sampler_runs, cost.sampler_backwards, cost.evaluations) == (2 * 4 + 1, 2 * 4, 2 * 4 + 1)


def test_images_are_alone_with_a_trust_region_too() -> None:
    noise, objective = normal(2, 6), Quadratic(normal(2, 6, seed=1))
    settings = Settings(iterations=5, rule=NormalizedGradient(1.0, 0.0), smoothing=Smoothing(2, 0.1), trust_region=TrustRegion())
    together = optimize(noise, sampler, objective, settings)
    alone = optimize(noise[:1], sampler, objective, settings)
    assert torch.equal(together.noise[0], alone.noise[0])
    rejected = [row.rejected[0] for row in alone.history.rows[:-1]]
    assert any(rejected)
    assert alone.history.cost.sampler_backwards == 3 * rejected.count(False)  # nothing is averaged where a step is taken back


def test_a_nearby_gradient_that_is_not_finite_is_left_out() -> None:
    calls = []

    def cliff(latent: Tensor, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        calls.append(None)
        return latent.flatten(1).square().sum(1) * (float("nan") if len(calls) == 2 else 1.0), {}

    noise = normal(1, 4)
    settings = Settings(iterations=1, rule=RULE, smoothing=Smoothing(1, 0.5), renormalize="none")
    result = optimize(noise, lambda x: 1.0 * x, cliff, settings)
    assert torch.allclose(result.noise, noise - 0.1 * noise / noise.square().mean().sqrt())
    assert result.history.rows[0].finite == [True]


def test_numbers_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sigma is 0; it has to be above 0\."):
        Smoothing(sigma=0)
    with pytest.raises(ValueError, match=r"draws is 0; it has to be a whole number, at least 1\."):
        Smoothing(draws=0)
