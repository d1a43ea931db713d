"""Rules against an independent transcription of what was published, and against their own promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.presets import PRESETS
from sgool.latent_optimization.random_streams import streams_for
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.update_rules.adam import AdamUpdate
from sgool.latent_optimization.update_rules.doodl import DOODLUpdate
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import Quadratic, normal

SHAPES = st.sampled_from([(2, 5), (1, 4, 7), (2, 4, 3, 5), (3, 2, 2, 3, 4), (1, 1, 1)])


def toy_sampler(noise: Tensor) -> Tensor:
    return torch.sin(noise) + 0.1 * noise.roll(1, -1) * noise


def toy_loss(latent: Tensor) -> Tensor:
    return ((latent - 0.3) ** 4).flatten(1).sum(1)


def toy_evaluate(latent: Tensor, *_: object) -> tuple[Tensor, dict[str, Tensor]]:
    return toy_loss(latent), {}


def published_doodl(start: Tensor, perturbations: list[Tensor], scale: float = 1.0) -> Tensor:
    """DOODL's update for one latent, written down from its description a second time: numbers and order, nothing shared with the pack."""
    x, velocity = start.clone(), None
    length = float(start.norm())
    for perturbation in perturbations:
        leaf = x.clone().requires_grad_()
        (scale * toy_loss(toy_sampler(leaf))).sum().backward()
        assert leaf.grad is not None
        g = -0.5 * leaf.grad
        limit = torch.full_like(g, 1e-3)
        g = torch.minimum(torch.maximum(g, -limit), limit)
        velocity = g if velocity is None else 0.9 * velocity + g
        x = x + velocity + 1e-4 * perturbation
        x = x * length / float(x.norm())
    return x


@pytest.mark.parametrize("scale", [1.0, 1e-4])  # with the first, most elements are clipped; with the second, few
def test_doodl_follows_the_published_equations_for_ten_iterations(scale: float) -> None:
    noise = normal(1, 4, 6, 6)
    rule = DOODLUpdate(gradient_scale=scale)
    result = optimize(noise, toy_sampler, toy_evaluate, Settings(iterations=10, rule=rule), seed=7)
    stream = streams_for(noise, 7)[0].perturbations
    expected = published_doodl(noise, [torch.randn(4, 6, 6, generator=stream).double()[None] for _ in range(10)], scale)
    assert float((result.noise - expected).abs().max()) < 1e-12
    assert float((result.noise - noise).abs().max()) > 1e-4


def test_a_clipped_step_of_doodl_is_bounded() -> None:
    rule, state = DOODLUpdate(perturbation=0), {"velocity": torch.zeros(1, 3)}
    for _ in range(200):
        step, state = rule.step(torch.tensor([[-1e3, 1e3, 0.0]]), state, lambda: torch.zeros(1, 3))
    assert step[0].tolist() == pytest.approx([1e-2, -1e-2, 0], rel=1e-5)


def test_adam_is_torchs_adam() -> None:
    noise, rule = normal(3, 4, 5), AdamUpdate(step_size=0.02)
    reference = noise.clone().requires_grad_()
    adam = torch.optim.Adam([reference], lr=0.02, betas=(0.9, 0.999), eps=1e-8)
    x, state = noise, rule.start(noise)
    for _ in range(10):
        adam.zero_grad()
        toy_loss(toy_sampler(reference)).sum().backward()
        adam.step()
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(toy_loss(toy_sampler(leaf)).sum(), leaf)
        step, state = rule.step(gradient, state, lambda: torch.zeros(()))
        x = x + step
    assert float((x - reference).detach().abs().max()) < 1e-12


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, exponent=st.integers(-30, 30), step_size=st.floats(1e-4, 2), momentum=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_a_normalized_step_is_as_long_as_it_says(
    shape: tuple[int, ...], exponent: int, step_size: float, momentum: float, seed: int
) -> None:
    rule = NormalizedGradient(step_size, momentum)
    gradient = normal(*shape, seed=seed, dtype=torch.float32) * 10.0**exponent
    state = rule.start(gradient)
    for _ in range(3):
        step, state = rule.step(gradient, state, lambda: torch.zeros(()))
    lengths = step.flatten(1).double().square().mean(1).sqrt()
    assert lengths.tolist() == pytest.approx([step_size] * shape[0], rel=1e-4)
    assert bool((step * gradient <= 0).all())


def test_momentum_averages_normalized_gradients() -> None:
    rule, first, second = NormalizedGradient(1.0, 0.5), torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, -200.0]])
    _, state = rule.step(first, rule.start(first), lambda: first)
    step, _ = rule.step(second, state, lambda: first)
    direction = torch.tensor([0.5, -1.0])
    assert step[0].tolist() == pytest.approx((-direction / direction.square().mean().sqrt()).tolist(), rel=1e-6)


@pytest.mark.parametrize("rule", [NormalizedGradient(), AdamUpdate(), DOODLUpdate(perturbation=0)])
def test_without_gradient_nothing_moves(rule: NormalizedGradient | AdamUpdate | DOODLUpdate) -> None:
    zero = torch.zeros(2, 3, 4)
    step, _ = rule.step(zero, rule.start(zero), lambda: zero)
    assert torch.equal(step.abs(), zero)


def test_small_steps_are_not_lost_in_half_precision() -> None:
    noise = normal(1, 4, 8, 8, dtype=torch.bfloat16)
    seen: list[torch.dtype] = []

    def generate(x: Tensor) -> Tensor:
        seen.append(x.dtype)
        return x * 2

    result = optimize(noise, generate, Quadratic(normal(1, 4, 8, 8, seed=1)), PRESETS["DOODL"].settings)
    assert set(seen) == {torch.bfloat16}
    assert result.noise.dtype == torch.bfloat16
    assert torch.equal(result.latent, generate(result.noise))
    moved = (result.noise - noise).float()
    assert 0.1 < float(moved.square().mean().sqrt()) < 0.5  # steps of 1e-3 would have vanished beside 1 in bfloat16


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: DOODLUpdate(gradient_scale=-1), "gradient_scale is -1; it has to be at least 0."),
        (lambda: DOODLUpdate(clip=0), "clip is 0; it has to be above 0."),
        (lambda: DOODLUpdate(momentum=1), "momentum is 1; it has to be at least 0 and below 1."),
        (lambda: DOODLUpdate(perturbation=float("nan")), "perturbation is nan; it has to be at least 0."),
        (lambda: NormalizedGradient(step_size=0), "step_size is 0; it has to be above 0."),
        (lambda: NormalizedGradient(momentum=-0.1), "momentum is -0.1; it has to be at least 0 and below 1."),
        (lambda: AdamUpdate(step_size=float("inf")), "step_size is inf; it has to be above 0."),
        (lambda: AdamUpdate(beta1=1), "beta1 is 1; it has to be at least 0 and below 1."),
        (lambda: AdamUpdate(beta2=-1), "beta2 is -1; it has to be at least 0 and below 1."),
        (lambda: AdamUpdate(epsilon=0), "epsilon is 0; it has to be above 0."),
    ],
)
def test_numbers_outside_their_range_are_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        make()
    assert str(caught.value) == sentence


def test_the_perturbation_comes_from_the_seed_and_each_images_noise() -> None:
    start = normal(2, 6)

    def flat(latent: Tensor, *_: object) -> tuple[Tensor, dict[str, Tensor]]:
        return (latent * 0).flatten(1).sum(1), {}

    def moved(noise: Tensor, seed: int = 3) -> Tensor:
        settings = Settings(iterations=1, rule=DOODLUpdate(), renormalize="none")
        return optimize(noise, lambda x: 1.0 * x, flat, settings, seed=seed).noise - noise

    first, second = moved(start)
    assert torch.equal(moved(start.flip(0))[1], first)  # wherever in a batch it is
    assert not torch.equal(first, second)
    assert not torch.equal(moved(start, seed=4)[0], first)
    assert float(moved(start).std()) == pytest.approx(1e-4, rel=0.8)
