"""Gradients through ComfyUI's own guider and UNet, with weights that were loaded inside inference mode."""

from __future__ import annotations

import comfy.model_management
import comfy.samplers
import comfy.sd
import pytest
import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.latent_optimization.checkpointed_calls import checkpointed_blocks
from torch import Tensor

import nodes

from .guided import SHAPE, error_along_gradient, gradient, through_guider, weights
from .tiny_models import MODEL_TYPES, conditioning, low_rank, tiny_controlnet, tiny_model

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore:Should have t[ab]")]


def by_hand(run: NoiseToLatent, noise: Tensor) -> Tensor:
    """The gradient of Euler's method written out, with autograd as it is: no mode, no checkpoints."""
    leaf = noise.clone().requires_grad_()
    sampling = run.model.inner_model.model_sampling
    x = sampling.noise_scaling(run.sigmas[0], leaf, run.latent_image, run.sampler.max_denoise(run.model, run.sigmas))
    for sigma, following in zip(run.sigmas, run.sigmas[1:], strict=False):
        denoised = run.model(x, sigma * x.new_ones(len(x)), model_options=run.extra_args["model_options"], seed=5)
        x = x + (x - denoised) / sigma * (following - sigma)
    x = sampling.inverse_noise_scaling(run.sigmas[-1], x)
    return torch.autograd.grad((x * weights()).sum(), leaf)[0]


@pytest.mark.parametrize("kind", list(MODEL_TYPES))
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "euler_cfg_pp", "ipndm_v", "uni_pc", "dpmpp_sde"])
def test_gradients_through_the_guider_agree_with_central_differences(kind: str, name: str) -> None:
    with torch.inference_mode():
        model = tiny_model(kind)
        assert next(model.model.diffusion_model.parameters()).is_inference()
        assert through_guider(model, error_along_gradient, name) < 5e-3


@pytest.mark.parametrize("kind", list(MODEL_TYPES))
def test_gradients_on_inference_weights_are_those_of_plain_autograd(kind: str) -> None:
    expected = through_guider(tiny_model(kind), by_hand)
    with torch.inference_mode():
        found = through_guider(tiny_model(kind), gradient)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_checkpointing_calls_or_blocks_or_nothing_gives_the_same_gradient() -> None:
    def calls_and_blocks(run: NoiseToLatent, noise: Tensor) -> list[Tensor]:
        found = gradient(run, noise.clone())
        with checkpointed_blocks(run.model.inner_model.diffusion_model) as recomputed:
            again = gradient(run, noise.clone())
        assert len(recomputed) > 5
        return [found, again]

    with torch.inference_mode():
        calls, blocks = through_guider(tiny_model(), calls_and_blocks)
        nothing = through_guider(tiny_model(), gradient, options={"use_checkpoint": False})
    assert torch.equal(calls, nothing)
    assert torch.allclose(calls, blocks, rtol=1e-5, atol=1e-6 * float(calls.abs().max()))


def test_memory_that_is_used_again_makes_no_difference() -> None:
    with torch.inference_mode():
        found = [through_guider(tiny_model(), gradient, options={"copy_constants": copied}) for copied in (False, True)]
    assert torch.equal(*found)


def test_with_a_lora() -> None:
    with torch.inference_mode():
        model = tiny_model()
        patched, _ = comfy.sd.load_lora_for_models(model, None, low_rank(model), 1.0, 0.0)
        assert through_guider(patched, error_along_gradient) < 5e-3
        with_lora = through_guider(patched, gradient)
        assert torch.allclose(through_guider(patched, gradient), with_lora)
        assert not torch.allclose(through_guider(model, gradient), with_lora, rtol=1e-2)


def test_with_weights_and_a_lora_that_are_brought_in_layer_by_layer() -> None:
    """As core does where a model does not fit: weights are cast, and patches computed, in each layer's call."""

    def partly_loaded(run: NoiseToLatent, noise: Tensor) -> Tensor:
        patcher = run.model.model_patcher
        with torch.inference_mode():
            patcher.unpatch_model(patcher.offload_device)
            patcher.patch_model(patcher.load_device, lowvram_model_memory=64)
        layers = [module for module in patcher.model.modules() if getattr(module, "weight_function", [])]
        assert layers  # core has put the LoRA there
        assert all(module.comfy_cast_weights for module in layers)
        return gradient(run, noise)

    with torch.inference_mode():
        model = tiny_model()
        patched, _ = comfy.sd.load_lora_for_models(model, None, low_rank(model), 1.0, 0.0)
        expected = through_guider(patched, gradient)
        found = through_guider(patched, partly_loaded)
        comfy.model_management.unload_all_models()
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_with_a_controlnet() -> None:
    with torch.inference_mode():
        hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))
        positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
            conditioning(1), conditioning(2), tiny_controlnet(), hint, 0.7, 0.0, 1.0
        )
        model = tiny_model()
        assert through_guider(model, error_along_gradient, positive=positive, negative=negative) < 5e-3
        controlled = through_guider(model, gradient, positive=positive, negative=negative)
        assert not torch.allclose(through_guider(model, gradient), controlled, rtol=1e-2)


def test_with_a_mask_and_a_latent_image() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[:, :, :, :8] = 1
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        assert through_guider(tiny_model("v"), error_along_gradient, latent_image=image, denoise_mask=mask) < 5e-3


def test_conditionings_share_a_batch_or_not_as_in_the_first_pass() -> None:
    """Core decides by the memory that is free; a recomputed call must not decide otherwise."""
    model = tiny_model()
    free = iter([1e12, 0.0] * 1000)
    model.get_free_memory = lambda device: next(free)  # type: ignore[method-assign]
    with torch.inference_mode():
        assert torch.isfinite(through_guider(model, gradient)).all()
    assert "get_free_memory" in model.__dict__


def test_the_switches_are_put_back() -> None:
    management = comfy.model_management
    model = tiny_model()

    def look(run: NoiseToLatent, noise: Tensor) -> None:
        assert management.in_training
        assert management.NUM_STREAMS == 0
        raise KeyError("in the middle")

    before = management.NUM_STREAMS
    with pytest.raises(KeyError, match="in the middle"):
        through_guider(model, look)
    assert not management.in_training
    assert before == management.NUM_STREAMS
    assert "get_free_memory" not in model.__dict__
