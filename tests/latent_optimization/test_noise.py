"""The noise's norm and its regularizers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.regularizers import NormLikelihood, WhiteNoise, penalty
from sgool.latent_optimization.renormalize import renormalize, target_norms
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import Quadratic, linear_sampler, normal

SHAPES = [(2, 9), (2, 3, 7), (2, 1, 17, 16), (1, 2, 3, 4, 5), (2, 3, 1, 1)]


@given(shape=st.sampled_from(SHAPES), scale=st.floats(1e-3, 1e3), mode=st.sampled_from(["initial", "shell"]))
@settings(max_examples=30, deadline=None)
def test_each_image_gets_its_own_norm_back(shape: tuple[int, ...], scale: float, mode: str) -> None:
    noise = normal(*shape)
    noise[0] *= 3
    targets = target_norms(noise, mode)
    back = renormalize(noise * scale + 0.1, targets).flatten(1).norm(dim=1)
    expected = noise.flatten(1).norm(dim=1) if mode == "initial" else torch.full_like(back, math.sqrt(noise[0].numel()))
    assert torch.allclose(back, expected, rtol=1e-12, atol=0)


def test_without_renormalization_the_noise_is_left_alone() -> None:
    noise = normal(2, 5)
    assert target_norms(noise, "none") is None
    assert renormalize(noise, None) is noise
    zeros = torch.zeros(1, 5)
    assert torch.equal(renormalize(zeros, torch.ones(1)), zeros)


def test_the_sampler_only_ever_sees_noise_of_the_norm_asked_for() -> None:
    lengths: list[Tensor] = []

    def generate(x: Tensor) -> Tensor:
        lengths.append(x.detach().flatten(1).norm(dim=1))
        return 3 * x

    start = normal(2, 4, 4)
    optimize(start, generate, Quadratic(normal(2, 4, 4, seed=1)), Settings(iterations=4))
    assert all(torch.allclose(length, start.flatten(1).norm(dim=1), rtol=1e-12) for length in lengths)
    lengths.clear()
    optimize(start, generate, Quadratic(normal(2, 4, 4, seed=1)), Settings(iterations=4, renormalize="shell"))
    assert torch.equal(lengths[0], start.flatten(1).norm(dim=1))  # the noise given is what is scored first
    assert all(torch.allclose(length, torch.full((2,), 4.0).double(), rtol=1e-12) for length in lengths[1:])


def test_noise_of_zeros_has_no_norm_to_keep() -> None:
    noise = normal(3, 4)
    noise[1] = 0
    for mode in ("initial", "shell"):  # a Gaussian's norm would add noise where somebody disabled it
        with pytest.raises(ValueError, match=r"The noise of image 2 is all zeros \(Disable Noise\), so there is no norm to keep\."):
            optimize(noise, linear_sampler(), Quadratic(noise), Settings(iterations=1, renormalize=mode))
    with pytest.raises(ValueError, match=r"Unknown renormalization 'round'\. Expected one of initial, shell, white, none"):
        target_norms(noise, "round")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("regularizer", [NormLikelihood(), WhiteNoise()])
def test_regularizers_have_the_right_gradient(regularizer: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
    noise = normal(*shape).requires_grad_()
    assert regularizer(noise).shape == shape[:1]
    assert torch.autograd.gradcheck(regularizer, (noise,))


def test_the_norms_likelihood_is_highest_at_the_chi_distributions_mode() -> None:
    direction = normal(1, 3, 4)
    direction = direction / direction.norm()
    radii = torch.tensor([0.5, 3.0, math.sqrt(11), 3.6, 9.0], dtype=torch.float64)
    values = torch.cat([NormLikelihood()(direction * radius) for radius in radii])
    assert float(values[2]) == pytest.approx(0, abs=1e-12)
    assert bool((values[[0, 1, 3, 4]] > 1e-4).all())
    # scipy.stats.chi has the same shape in r, up to its constant
    from scipy.stats import chi

    logs = torch.from_numpy(chi(12).logpdf(radii.numpy()))
    assert torch.allclose(values - values[2], logs[2] - logs, atol=1e-9)


@pytest.mark.parametrize("shape", [(64, 4, 64, 64), (64, 16, 31), (64, 2, 5, 24, 40), (64, 4096)])
def test_white_noise_scores_two_at_any_size(shape: tuple[int, ...]) -> None:
    values = WhiteNoise()(normal(*shape))
    assert float(values.mean()) == pytest.approx(2, abs=0.6)
    assert bool((values >= 0).all())


def test_structure_scores_high() -> None:
    noise = normal(1, 4, 32, 32)
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    coarse = noise[:, :, ::8, ::8].repeat_interleave(8, 2).repeat_interleave(8, 3)  # white at no scale below 8
    stripes = noise + torch.linspace(-1, 1, 32).sign() * 0.5
    for structured in (smooth / smooth.std(), coarse / coarse.std(), stripes / stripes.std(), noise * 1.3, noise + 0.3):
        assert float(WhiteNoise()(structured)) > 10 * float(WhiteNoise()(noise))


def test_a_faint_slope_is_seen_at_the_coarse_levels() -> None:
    noise = normal(8, 4, 64, 64)
    slope = 0.15 * torch.linspace(-1, 1, 64, dtype=torch.float64) * math.sqrt(3)  # a correlation of .02 between neighbors
    assert float(WhiteNoise()(noise + slope).mean()) > 20


def test_the_regularizer_pulls_in_the_loop_and_is_reported_unweighted() -> None:
    start = normal(1, 4, 16, 16)
    blob = torch.zeros_like(start)
    blob[..., 4:12, 4:12] = 3
    losses = {}
    for weight in (None, 10.0):
        regularizer = None if weight is None else WhiteNoise(weight)
        choice = Settings(iterations=20, rule=NormalizedGradient(0.05), regularizer=regularizer)
        result = optimize(start, lambda x: x, Quadratic(blob), choice)
        losses[weight] = float(WhiteNoise()(result.noise))
        reported = result.history.rows[0].regularizer[0]
        assert math.isnan(reported) if weight is None else reported == pytest.approx(float(WhiteNoise()(start)))
    assert losses[10.0] < 0.2 * losses[None]


def test_penalty_is_the_weighted_gradient() -> None:
    noise = normal(2, 5)
    values, gradient = penalty(NormLikelihood(0.5), noise)
    expected = 0.5 * (noise - 4 * noise / noise.norm(dim=1, keepdim=True) ** 2)
    assert torch.allclose(gradient, expected, rtol=1e-12)
    assert values == pytest.approx(NormLikelihood()(noise).tolist())


@pytest.mark.parametrize("make", [NormLikelihood, WhiteNoise])
def test_a_weight_has_to_be_above_zero(make: Callable[[float], object]) -> None:
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"weight is .*; it has to be above 0\."):
            make(weight)
