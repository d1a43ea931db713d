"""SGOOL's whole run on a model class, and its gradient where nothing that the model remembers is left from the forward pass."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.samplers
import torch
from comfy.nested_tensor import NestedTensor
from sgool.comfy_bridge.latent_parts import like_latent, parts_of
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.outcome import Outcome
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.comfy_bridge.suitability import decoded_channels
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.settings import Settings
from torch import Tensor, nn

from ..objectives import Red
from ..tiny_models import tiny_vae
from .building import build, conditioning, reference, seeded, slope_weights, through_guider, whole_noise
from .configurations import FAMILIES


class Colors(nn.Module):
    """A decoder of any latents: three mixtures of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mixture = nn.Parameter(seeded((3, channels), 7, channels**-0.5), requires_grad=False)

    def decode(self, latent: Tensor) -> Tensor:
        return torch.einsum("kc, bc... -> bk...", self.mixture, latent)


def vae_of(module: nn.Module, channels: int, *, video: bool) -> Any:
    """A VAE whose decoder is ``module``."""
    vae = tiny_vae(channels)
    vae.first_stage_model = module
    vae.patcher = comfy.model_patcher.CoreModelPatcher(module, load_device=vae.device, offload_device=vae.device)
    vae.latent_dim = 3 if video else 2
    vae.process_output = torch.sigmoid  # core's own clamps, which has kinks that differences stumble over
    return vae


def sample(name: str, model: Any, sampler: Any, noise: Any, steps: int = 2) -> Any:
    """What core's CFGGuider makes of ``noise``, Tensor or NestedTensor."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(FAMILIES[name], 1), conditioning(FAMILIES[name], 2))
    guider.set_cfg(2.0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    return guider.sample(noise, noise * 0, sampler, sigmas, None, seed=5)


def _flat(samples: Any) -> Tensor:
    parts = samples.unbind() if isinstance(samples, NestedTensor) else [samples]
    return torch.cat([part.flatten() for part in parts])


def whole_run(name: str) -> tuple[float, Outcome]:
    """The relative difference between the latent of one iteration and what its noise gives plainly, and the outcome.

    It is 0 but where a network computes otherwise, to rounding, while ComfyUI is told that it trains (LTXV's rotary embeddings).
    """

    def decoder_for(run: NoiseToLatent, noise: Tensor) -> tuple[int, bool]:
        parts = parts_of(run.model, noise)
        return decoded_channels(run.model.inner_model, noise, parts), not parts.frames_are_batch and parts.noise(noise).ndim == 5

    model = build(name)
    channels, video = through_guider(name, model, decoder_for)
    vae, euler = vae_of(Colors(channels), channels, video=video), comfy.samplers.sampler_object("euler")
    sampler = SGOOLSampler(euler, Red(), vae, Preset(Settings(iterations=1)))
    start = whole_noise(name, model)
    latent = sample(name, model, sampler, start)
    outcome = sampler.outcomes.of(latent)
    given = like_latent(outcome.noise, latent)
    assert not torch.equal(_flat(given), _flat(start))
    plain = sample(name, model, euler, given)
    assert torch.isfinite(_flat(plain)).all()
    return float((_flat(latent) - _flat(plain)).norm() / _flat(plain).norm()), outcome


def cold_gradient(run: NoiseToLatent, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient through a model that was never called, where another noise is sampled and all that the model remembers is put back to
    how it began between forward and backward; and the reference."""
    leaf = noise.clone().requires_grad_()
    latent = run(leaf)
    run(seeded(noise.shape, 77).to(noise))
    run.begin()
    (found,) = torch.autograd.grad((latent.float() * slope_weights(latent.float())).sum(), leaf)
    return found, reference(run, noise)
