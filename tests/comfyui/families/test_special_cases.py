"""Models that keep something between calls, that rearrange their latent or use no noise, and the check of a model's gradient."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import comfy.k_diffusion.sampling
import comfy.latent_formats
import comfy.model_sampling
import comfy.samplers
import pytest
import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.self_check import warning_about_gradient
from sgool.comfy_bridge.suitability import check_noise_is_used, decoded_channels
from torch import Tensor

from .building import build, slope_error, through_guider

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore")]


def test_a_cache_of_keys_and_values_that_goes_on_from_call_to_call() -> None:
    """Wan's autoregressive sampler: each call writes into a cache that the next ones read."""

    def both(run: NoiseToLatent, noise: Tensor) -> tuple[float, float]:
        run.sampler = comfy.samplers.KSAMPLER(comfy.k_diffusion.sampling.sample_ar_video, {"num_frame_per_block": 1})
        first = slope_error(run, noise)
        return first, slope_error(run, noise)

    with torch.inference_mode():
        assert max(through_guider("WAN21_CausalAR_T2V", build("WAN21_CausalAR_T2V"), both, cfg=1.0)) < 2e-3


def test_channels_are_compared_in_the_space_of_the_vae() -> None:
    refiner = SimpleNamespace(process_latent_out=comfy.latent_formats.HunyuanImage21Refiner().process_out)
    assert decoded_channels(refiner, torch.zeros(2, 64, 2, 4, 4)) == 32
    flux = SimpleNamespace(process_latent_out=comfy.latent_formats.Flux().process_out)
    assert decoded_channels(flux, torch.zeros(2, 16, 4, 4)) == 16


def test_a_model_that_uses_no_noise_is_refused_with_a_sentence() -> None:
    with torch.inference_mode():
        with pytest.raises(ValueError, match="no noise to optimize"):
            check_noise_is_used(_without_noise(), torch.zeros(1, 16, 2, 4, 4))
        check_noise_is_used(build("SD15").model, torch.zeros(1, 4, 8, 8))


def _without_noise() -> Any:
    class Sampling(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.IMG_TO_IMG_FLOW):
        pass

    return SimpleNamespace(model_sampling=Sampling(None))


def test_the_check_of_a_gradient_finds_a_patch_that_detaches() -> None:
    with torch.inference_mode():
        patcher = build("AuraFlow")
        sound = through_guider("AuraFlow", patcher, warning_about_gradient)[0]
        network = patcher.model.diffusion_model
        own = network.forward
        network.forward = lambda x, *args, **kwargs: own(x.detach(), *args, **kwargs)
        broken = through_guider("AuraFlow", patcher, warning_about_gradient)[0]
    assert sound is None
    assert broken is not None
    assert "does not agree" in broken
