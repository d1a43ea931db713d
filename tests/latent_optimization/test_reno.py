"""ReNO's preset against a second transcription of its program, with torch's own optimizer and clipping."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.presets import preset
from sgool.latent_optimization.update_rules.sgd import SGDUpdate
from torch import Tensor

from .toy import normal


def sampler(noise: Tensor) -> Tensor:
    return torch.sin(noise) + 0.1 * noise.roll(1, -1) * noise


def rewards(image: Tensor) -> Tensor:
    """Steep enough for gradients to be clipped, and wavy, so that the best image is not the last."""
    return ((image - 0.3) ** 2).flatten(1).sum(1) + 5 * torch.cos(3 * image).flatten(1).mean(1)


def program(start: Tensor, images: int) -> tuple[Tensor, list[float]]:
    """The loop of trainer.py with the numbers of arguments.py: the latents of the best image, and each image's weighted rewards."""
    latents = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([latents], lr=5.0, nesterov=True, momentum=0.9)
    best, best_latents, seen = math.inf, start, []
    for iteration in range(images):
        optimizer.zero_grad()
        total = rewards(sampler(latents)).sum()
        seen.append(total.item())
        if seen[-1] < best:
            best, best_latents = seen[-1], latents.detach().clone()
        norm = torch.linalg.vector_norm(latents)
        total = total + 0.01 * (0.5 * norm**2 - (math.prod(latents.shape[1:]) - 1) * torch.log(norm))
        if iteration != images - 1:
            total.backward()
            torch.nn.utils.clip_grad_norm_(latents, 0.1)
            optimizer.step()
    return best_latents, seen


@pytest.mark.parametrize("seed", [0, 1])
def test_fifty_iterations_are_the_programs(seed: int) -> None:
    start = normal(1, 4, 8, 8, seed=seed)
    latents, seen = program(start, 51)  # the program's own 50 images are the first 50
    result = optimize(start, sampler, lambda latent, *_: (rewards(latent), {}), preset("ReNO").settings)
    assert [row.loss[0] for row in result.history.rows] == pytest.approx(seen, abs=1e-10)
    assert float((result.noise - latents).abs().max()) < 1e-10
    assert result.history.returned_iteration == [seen.index(min(seen))]
    assert min(seen) < seen[0]


def test_the_published_numbers() -> None:
    settings = preset("ReNO").settings
    assert vars(settings.rule) == {"step_size": 5.0, "momentum": 0.9, "nesterov": True, "clip_norm": 0.1}
    assert settings.regularizer is not None
    assert settings.regularizer.weight == 0.01
    assert (settings.iterations, settings.renormalize, settings.returned, settings.best_of) == (50, "none", "best", 1)
    assert preset("ReNO").procedure is None


@examples(max_examples=30, deadline=None)
@given(momentum=st.floats(0, 0.99), nesterov=st.booleans(), clip=st.floats(1e-3, 10), seed=st.integers(0, 99))
def test_the_rule_is_torchs_sgd_for_each_image_alone(momentum: float, nesterov: bool, clip: float, seed: int) -> None:
    nesterov = nesterov and momentum > 0  # torch refuses it without momentum
    rule, gradients = SGDUpdate(0.1, momentum, nesterov, clip), normal(4, 2, 3, 3, seed=seed)
    x = torch.zeros(2, 3, 3, dtype=torch.float64)
    state = rule.start(x)
    for gradient in gradients:
        step, state = rule.step(gradient, state, lambda: torch.zeros(()))
        x = x + step
    for index in range(2):
        alone = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        sgd = torch.optim.SGD([alone], lr=0.1, momentum=momentum, nesterov=nesterov)
        for gradient in gradients:
            alone.grad = gradient[index].clone()
            torch.nn.utils.clip_grad_norm_(alone, clip)
            sgd.step()
        assert torch.allclose(x[index], alone.detach(), atol=1e-12)


def test_a_step_is_bounded() -> None:
    rule = replace(SGDUpdate(), momentum=0.9)
    state, gradient = rule.start(torch.zeros(1, 16)), torch.full((1, 16), 1e6)
    for _ in range(200):
        step, state = rule.step(gradient, state, lambda: gradient)
    assert float(step.norm()) == pytest.approx(5, rel=1e-4)
