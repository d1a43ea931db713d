"""The DOODL and SGOOL presets with EDICT, beside an independent transcription of the published procedure."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.presets import PRESETS
from sgool.latent_optimization.random_streams import draw_normal, streams_for
from sgool.latent_optimization.reversible import EDICT
from sgool.latent_optimization.reversible.chain import run_reversibly
from torch import Tensor

from . import published
from .test_solvers import SCHEDULES, published_slope, scales_of, states

ITERATIONS = 10
SIGMAS = SCHEDULES["karras to 0"](8)


def loss_of(latent: Tensor, index: int | None = None) -> Tensor:
    """Any loss; of images of one size with the gradients that DOODL meets, some of which its clip cuts off."""
    target = states(seed=5) if index is None else states(seed=5)[index : index + 1]
    return 0.05 * (latent - target).square().flatten(1).sum(dim=1)


def doodl(noise: Tensor, draws: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """arXiv 2303.13703 with its published numbers, two latents that are stepped apart and tied. Returns the noise and both latents."""
    x, y, velocity, times = noise.clone(), noise.clone(), torch.zeros_like(noise), published.Times(SIGMAS)
    norm = noise.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)

    def sample(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        path, other = published.edict(x, times, 0.93, alternate=True, other=y)
        return path[-1], other

    for iteration in range(ITERATIONS):
        leaf_x, leaf_y = x.clone().requires_grad_(), y.clone().requires_grad_()
        ends = sample(leaf_x, leaf_y)
        of_x, of_y = torch.autograd.grad((loss_of(ends[0]) + loss_of(ends[1])).sum(), (leaf_x, leaf_y))
        pull = (-0.5 * of_x + -0.5 * of_y) / 2
        pull = torch.minimum(torch.maximum(pull, torch.tensor(-1e-3)), torch.tensor(1e-3))
        velocity = pull if iteration == 0 else 0.9 * velocity + pull
        x, y = (state + velocity + 1e-4 * draws[iteration] for state in (x, y))
        x = y = (x + y) / 2
        x, y = (state / state.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) * norm for state in (x, y))
    return (x, *sample(x, y))


@pytest.mark.parametrize("name", ["DOODL", "SGOOL"])
def test_ten_iterations_are_the_published_ones(name: str) -> None:
    settings = replace(PRESETS[name].settings, iterations=ITERATIONS)
    noise = states()
    plan = EDICT().plan(SIGMAS, scales_of(SIGMAS))
    first = math.hypot(1, SIGMAS[0])

    def generate(noise: Tensor) -> Tensor:
        x = noise * first
        return torch.stack(run_reversibly(plan, published_slope(SIGMAS), (x, torch.zeros_like(x))), dim=1)

    def evaluate(pair: Tensor, index: int, iteration: int, generator: torch.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        return (loss_of(pair[:, 0], index) + loss_of(pair[:, 1], index)) / 2, {}

    result = optimize(noise, generate, evaluate, settings)
    streams = streams_for(noise, 0)
    draws = [draw_normal([stream.perturbations for stream in streams], noise) for _ in range(ITERATIONS)]
    expected, x, y = doodl(noise, draws)
    assert float((expected - noise).abs().max()) > 5e-3  # it has moved
    assert float((result.noise - expected).abs().max()) <= 1e-6 * float(expected.abs().max())
    for found, theirs in zip(result.latent.unbind(1), (x, y), strict=True):
        assert float((found - theirs).abs().max()) <= 1e-6 * float(theirs.abs().max())
