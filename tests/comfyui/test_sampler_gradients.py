"""Gradients from noise to latent, through every sampler that ComfyUI lists."""

from __future__ import annotations

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent, gradient_is_approximate
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from torch import Tensor

from .analytic import AnalyticGuider, directional, float64_by_default, relative_error, run_of

pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.filterwarnings("ignore:To copy construct from a tensor", "ignore:Should have t[ab]"),
]
SAMPLERS = list(comfy.samplers.SAMPLER_NAMES)
TOLERANCE = 1e-5


def noise(batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("kind", ["eps", "flow"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_agrees_with_central_differences(name: str, kind: str) -> None:
    with float64_by_default(name):
        error = relative_error(*directional(run_of(name, kind), noise()))
    if name == "dpm_adaptive":  # its step sizes depend on the noise, which autograd does not see
        assert TOLERANCE < error < 2
    else:
        assert error <= TOLERANCE


def test_only_the_sampler_that_chooses_its_steps_is_called_approximate() -> None:
    assert [name for name in SAMPLERS if gradient_is_approximate(comfy.samplers.sampler_object(name))] == ["dpm_adaptive"]


@pytest.mark.parametrize("name", ["heun", "dpmpp_sde", "ipndm_v", "res_multistep_cfg_pp", "sa_solver"])
def test_checkpointing_changes_no_bit_of_a_gradient(name: str) -> None:
    leaf = noise().requires_grad_()
    gradients = [torch.autograd.grad(run_of(name, use_checkpoint=used)(leaf).sum(), leaf)[0] for used in (True, False)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("name", ["euler", "ddim", "lcm", "dpmpp_2m_sde", "heun"])
def test_with_and_without_gradient_the_latent_is_the_same(name: str) -> None:
    run = run_of(name)
    with_gradient = run(noise().requires_grad_())
    assert with_gradient.requires_grad
    assert torch.equal(with_gradient.detach(), run(noise()))
    assert torch.equal(with_gradient.detach(), run.plain(noise()))


def test_samplers_that_draw_from_the_global_generator_draw_the_same_each_time() -> None:
    sampler = comfy.samplers.ksampler("euler", {"s_churn": 5.0})
    reference = run_of("euler")
    torch.manual_seed(3)
    run = NoiseToLatent(sampler, AnalyticGuider(), reference.sigmas, reference.extra_args, reference.latent_image)
    first = run(noise())
    torch.manual_seed(11)
    assert torch.equal(run(noise()), first)
    assert relative_error(*directional(run, noise())) <= TOLERANCE


def test_a_mask_and_a_latent_image() -> None:
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    mask[:, :, :, :2] = 1
    run = run_of("dpmpp_2m", latent_image=noise() * 0.5 + 1, denoise_mask=mask)
    assert relative_error(*directional(run, noise())) <= TOLERANCE


def test_images_of_a_batch_do_not_meet() -> None:
    leaf = noise().requires_grad_()
    latent = run_of("dpmpp_2s_ancestral")(leaf)
    (gradient,) = torch.autograd.grad(latent[0].sum(), leaf)
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0


@pytest.mark.parametrize("name", ["euler", "heun", "seeds_3", "uni_pc"])
def test_the_expected_number_of_calls_is_the_actual_one(name: str) -> None:
    with float64_by_default(name):
        run = run_of(name, schedule=JacobianSchedule("last", 1))
        expected = run._expected_calls(noise())
        run(noise().requires_grad_())
    assert run.calls == expected == run.model.calls


@pytest.mark.parametrize("schedule", [JacobianSchedule("last", 3), JacobianSchedule("every", 2)])
def test_only_the_chosen_calls_are_computed_again(schedule: JacobianSchedule) -> None:
    run = run_of("heun", schedule=schedule)
    leaf = noise().requires_grad_()
    latent = run(leaf)
    made = run.model.calls
    assert torch.equal(latent.detach(), run_of("heun")(noise()))
    (gradient,) = torch.autograd.grad(latent.sum(), leaf)
    assert run.model.calls - made == sum(schedule.carries(index, made) for index in range(made))
    exact_run = run_of("heun")
    (exact,) = torch.autograd.grad(exact_run(leaf).sum(), leaf)
    assert not torch.allclose(gradient, exact)
    assert torch.isfinite(gradient).all()


def test_a_schedule_that_covers_all_calls_is_exact() -> None:
    leaf = noise().requires_grad_()
    gradients = []
    for schedule in (JacobianSchedule(), JacobianSchedule("last", 100), JacobianSchedule("every", 1)):
        gradients.append(torch.autograd.grad(run_of("dpmpp_2m", schedule=schedule)(leaf).sum(), leaf)[0])
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_the_users_sigmas_are_not_written_to() -> None:
    with float64_by_default("uni_pc"):
        run = run_of("uni_pc")
        before = run.sigmas.clone()
        run(noise().requires_grad_())
        run(noise())
    assert torch.equal(run.sigmas, before)


def test_other_sampler_nodes() -> None:
    """Samplers that KSampler does not list, from core's own nodes."""
    nodes = [custom.SamplerDPMPP_2S_Ancestral.execute(0.5, 1.0), custom.SamplerDPMPP_SDE.execute(1.0, 1.0, 0.5, "cpu")]
    for node in nodes:
        reference = run_of("euler")
        run = NoiseToLatent(node.result[0], AnalyticGuider(), reference.sigmas, reference.extra_args, reference.latent_image)
        assert relative_error(*directional(run, noise())) <= TOLERANCE
