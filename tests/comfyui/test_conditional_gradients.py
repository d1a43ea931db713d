"""Gradients through the conditional half of guided calls: against core's own hook for guidance, with the other half detached there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sgool.comfy_bridge.conditional_gradients import ConditionalOnly
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from torch import Tensor

from .guided import gradient, through_guider
from .tiny_models import tiny_model

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore:Should have t[ab]")]
CONDITIONAL = {"schedule": JacobianSchedule("conditional")}
SCALE = 2.0  # of through_guider


def guided_with_a_constant(args: dict[str, Tensor]) -> Tensor:
    """What core subtracts from its input: guidance with the negative prompt's part as a constant."""
    constant = args["uncond_denoised"].detach()
    return args["input"] - (constant + SCALE * (args["cond_denoised"] - constant))


def with_model(action: Any, options: dict[str, Any], detaches: bool = False, **kwargs: Any) -> Any:
    with torch.inference_mode():
        model = tiny_model()
        if detaches:
            model.set_model_sampler_cfg_function(guided_with_a_constant)
        return through_guider(model, action, options=options, **kwargs)


@pytest.mark.parametrize("use_checkpoint", [True, False])
def test_the_other_half_is_a_constant(use_checkpoint: bool) -> None:
    checkpoint = {"use_checkpoint": use_checkpoint}
    expected = with_model(gradient, checkpoint, detaches=True)
    exact = with_model(gradient, checkpoint)
    own = with_model(gradient, {**CONDITIONAL, **checkpoint})
    assert float((own - expected).norm() / expected.norm()) < 1e-5
    assert float((own - exact).norm() / exact.norm()) > 1e-3


def test_the_latent_is_the_same() -> None:
    def latent(run: Any, noise: Tensor) -> Tensor:
        plain: Tensor = run.plain(noise)
        return (run(noise.requires_grad_()).detach() - plain).norm() / plain.norm()

    assert float(with_model(latent, CONDITIONAL)) < 1e-5


def test_without_guidance_it_is_the_exact_gradient() -> None:
    assert torch.equal(with_model(gradient, CONDITIONAL, cfg=1.0), with_model(gradient, {}, cfg=1.0))


def test_backward_makes_no_more_than_the_conditional_half_again() -> None:
    rows = []

    def counted(run: Any, noise: Tensor) -> Tensor:
        network = run.model.inner_model.diffusion_model
        handle = network.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
        latent = run(noise.requires_grad_())
        rows.append(0)
        try:
            return torch.autograd.grad(latent.sum(), noise)[0]
        finally:
            handle.remove()

    with_model(counted, CONDITIONAL)
    forward, backward = rows[: rows.index(0)], rows[rows.index(0) + 1 :]
    assert sum(backward) == sum(forward) / 2


def test_the_positive_conditioning_is_found_wherever_a_guider_puts_it() -> None:
    guider = SimpleNamespace(conds={"positive": ["yes"], "negative": ["no"]})

    def executor(model: Any, conds: list[Any], x: Tensor) -> list[Tensor]:
        return [x * 0 if each is None else x * (2 if each == ["yes"] else 3) for each in conds]

    x = torch.ones(1, requires_grad=True)
    conds = [guider.conds["negative"], None, guider.conds["positive"]]
    negative, nothing, positive = ConditionalOnly(guider)(executor, None, conds, x)
    assert [float(each.detach()) for each in (negative, nothing, positive)] == [3.0, 0.0, 2.0]
    assert positive.requires_grad
    assert not negative.requires_grad
