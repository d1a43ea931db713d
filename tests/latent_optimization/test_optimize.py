"""The loop on problems small enough to know the answer of."""

from __future__ import annotations

import pytest
import torch
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.presets import PRESETS, Settings

from .toy import Quadratic, linear_sampler, normal


@pytest.mark.parametrize("ambient", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_lowers_the_loss_whatever_the_grad_mode_around_it(name: str, ambient: type) -> None:
    with ambient():
        result = optimize(normal(2, 3, 4, 4), linear_sampler(), Quadratic(normal(2, 3, 4, 4, seed=1)), PRESETS[name])
    for picture in range(2):
        curve = result.history.losses(picture)
        assert len(curve) == PRESETS[name].iterations + 1
        assert curve[-1][1] < curve[0][1]


def test_zero_iterations_sample_once_and_exactly() -> None:
    noise, calls = normal(2, 3, 4, 4, dtype=torch.float32), []

    def generate(x: torch.Tensor) -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        return torch.sin(3 * x)

    result = optimize(noise, generate, None, Settings(iterations=0))
    assert calls == [False]
    assert torch.equal(result.latent, torch.sin(3 * noise))
    assert torch.equal(result.noise, noise)
