"""Core's nodes that remember something between calls: gradients, and the same run however often it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.sample
import comfy.samplers
import pytest
import torch
from sgool.comfy_bridge.inversion import invert
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.reversible import EDICT
from sgool.latent_optimization.settings import Settings
from torch import Tensor

from .guided import SHAPE, error_along_gradient, gradient, through_guider
from .objectives import Red
from .stateful import ACROSS_CALLS, WITHIN_CALLS, Patched
from .tiny_models import conditioning, tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore:Should have t[ab]")]
EVERY = ACROSS_CALLS + WITHIN_CALLS


def made(make: Callable[[], Patched], action: Callable[[NoiseToLatent, Tensor], Any], **options: Any) -> Any:
    """What ``action`` finds in a run of the patched model, made afresh. Weights that change within a call are copied for backward."""
    torch.manual_seed(0)  # token merging draws from the global generator
    model, positive = make()
    options.setdefault("copy_constants", True)
    return through_guider(model, action, positive=positive, options=options)


@pytest.mark.parametrize("make", EVERY)
def test_gradients_agree_with_central_differences(make: Callable[[], Patched]) -> None:
    assert made(make, error_along_gradient) < 5e-3


@pytest.mark.parametrize("make", EVERY)
def test_recomputed_calls_give_the_gradient_of_stored_ones(make: Callable[[], Patched]) -> None:
    recomputed, stored = (made(make, gradient, use_checkpoint=checkpoint) for checkpoint in (True, False))
    assert torch.allclose(recomputed, stored, rtol=1e-4, atol=1e-5 * float(stored.abs().max()))


@pytest.mark.parametrize("make", EVERY)
def test_every_run_is_the_first_one(make: Callable[[], Patched]) -> None:
    def runs(run: NoiseToLatent, noise: Tensor) -> list[Tensor]:
        gradient(run, noise.clone())
        return [run(noise.clone().requires_grad_()).detach(), run(noise), run.plain(noise), run.plain(noise)]

    alone = made(make, lambda run, noise: run.plain(noise))
    for latent in made(make, runs):
        assert torch.allclose(latent, alone, rtol=1e-5, atol=1e-5 * float(alone.abs().max()))


def ksample(make: Callable[[], Patched], noise: Tensor | None = None, sampler: Any = None) -> Tensor:
    """Four steps of euler, or ``sampler``, by core's functions, on the model patched afresh."""
    model, positive = make()
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)) if noise is None else noise
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 4)
    sampler = sampler or comfy.samplers.sampler_object("euler")
    torch.manual_seed(0)
    zeros = torch.zeros_like(noise)
    return comfy.sample.sample_custom(model, noise, 2.0, sampler, sigmas, positive, conditioning(2), zeros, seed=5)


def optimizing(sampler: Any = None, iterations: int = 2) -> SGOOLSampler:
    settings = Settings(iterations=iterations, returned="last")
    return SGOOLSampler(sampler or comfy.samplers.sampler_object("euler"), Red(), tiny_vae(), Preset(settings))


@pytest.mark.parametrize("make", EVERY)
def test_the_returned_latent_is_cores_on_the_returned_noise(make: Callable[[], Patched]) -> None:
    sampler = optimizing()
    latent = ksample(make, sampler=sampler)
    outcome = sampler.outcomes.last
    assert outcome is not None
    alone = ksample(make, outcome.noise)
    assert torch.allclose(latent, alone, rtol=1e-4, atol=1e-4 * float(alone.abs().max()))
    assert not any("by itself" in message for message in outcome.messages)
    losses = [loss for _, loss in outcome.history.losses(0)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("make", ACROSS_CALLS)
def test_the_comparison_is_counted(make: Callable[[], Patched]) -> None:
    sampler, plain = optimizing(), optimizing()
    ksample(make, sampler=sampler)
    ksample(lambda: (tiny_model(), conditioning(1)), sampler=plain)
    assert sampler.outcomes.last is not None
    assert plain.outcomes.last is not None
    assert sampler.outcomes.last.history.cost.sampler_runs == plain.outcomes.last.history.cost.sampler_runs + 1


counted: list[int] = []


def out_of_reach() -> Patched:
    """Guidance that grows with every call that was ever made, kept in a variable of a module."""

    def grown(args: dict[str, Any]) -> Tensor:
        counted.append(1)
        return args["denoised"] * (1 + 0.02 * len(counted))

    def in_reach(args: dict[str, Any], seen: list[int] = []) -> Tensor:  # noqa: B006  (as some nodes do)
        seen.append(1)
        return args["denoised"]

    model = tiny_model()
    model.set_model_sampler_post_cfg_function(grown)
    model.set_model_sampler_post_cfg_function(in_reach)
    return model, conditioning(1)


def test_what_could_not_be_put_back_is_said() -> None:
    sampler = optimizing()
    ksample(out_of_reach, sampler=sampler)
    assert sampler.outcomes.last is not None
    (message,) = [message for message in sampler.outcomes.last.messages if "by itself" in message]
    assert "not what euler makes" in message
    assert "out_of_reach" in message


@pytest.mark.parametrize("make", ACROSS_CALLS)
def test_reversible_samplers_refuse_by_name_before_a_call(make: Callable[[], Patched]) -> None:
    def without_calls() -> Patched:
        model, positive = make()
        model.set_model_unet_function_wrapper(lambda function, args: pytest.fail("a call was made"))
        return model, positive

    with pytest.raises(ValueError, match=r"\((hook keyframes|EasyCache|LazyCache|APG's momentum)\), and a reversible sampler"):
        ksample(without_calls, sampler=optimizing(ReversibleSampler(EDICT())))
    model, positive = without_calls()
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 4)
    with pytest.raises(ValueError, match="a reversible sampler"):
        invert(
            model=model,
            positive=positive,
            negative=conditioning(2),
            cfg=2.0,
            sampler=ReversibleSampler(EDICT()),
            sigmas=sigmas,
            latent=torch.ones(SHAPE),
        )
