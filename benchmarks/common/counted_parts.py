"""The memory of each part of an iteration at real sizes, counted on torch's ``meta`` device: see live_bytes.py and ``bench memory``.

The code that runs is the pack's own and core's: the guider, the sampler, the checkpoints, decoding, the loss scaling. Only the numbers are
missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import comfy.model_management
import comfy.samplers
import torch
import transformers
from sgool.comfy_bridge import memory
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.vae import decode_with_grad
from sgool.latent_optimization.autograd_mode import gradients
from sgool.latent_optimization.checkpointed_calls import checkpointed_blocks
from sgool.rewards.preprocessing import Preprocessing
from sgool.tests.comfyui.families.building import conditioning
from sgool.tests.comfyui.guided import Probe
from torch import Tensor, nn

from .gradient_parts import gradient
from .live_bytes import LiveBytes, counted
from .measuring import sigmas_of
from .real_sizes import family_of, noise_for, real_model, real_vae
from .seeded_rewards import BASE, LARGE

META = torch.device("meta")
PLENTY = 1e15
"""Bytes that are said to be free, so that nothing is split for want of memory."""


def weights_of(module: nn.Module) -> int:
    """Bytes of parameters and buffers."""
    return sum(each.numel() * each.element_size() for each in (*module.parameters(), *module.buffers()))


def _free(_: Any = None, torch_free_too: bool = False) -> Any:
    return (PLENTY, PLENTY) if torch_free_too else PLENTY


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Within the context ComfyUI moves no weights, and everything is said to fit."""
    management = comfy.model_management
    with (
        mock.patch.object(management, "load_models_gpu", return_value=None),
        mock.patch.object(management, "get_free_memory", _free),
    ):
        yield


def meta_model(title: str, precision: str, *, small: bool = False) -> tuple[Any, Callable[..., Any]]:
    """A MODEL on the ``meta`` device, and what samples it: ``sample(action, steps, guided)``, see :class:`Probe`."""
    model = real_model(title, precision, META, small=small)
    model.load_device = model.offload_device = META
    model.get_free_memory = lambda _: PLENTY

    def sample(action: Callable[[Callable[..., NoiseToLatent], Tensor], Any], steps: int, guided: bool) -> Any:
        conditions = conditioning(family_of(title, small=small), 1)
        guider, probe = comfy.samplers.CFGGuider(model), Probe(action)
        guider.set_conds(conditions, conditions)
        guider.set_cfg(5.0 if guided else 1.0)
        noise = noise_for(title, model, 1, small=small).to(META)
        sigmas = schedules[steps]
        with on_meta(), LiveBytes():  # which answers where core asks for numbers
            guider.sample(noise, torch.zeros_like(noise), probe, sigmas, disable_pbar=True, seed=0)
        return probe.found

    # While the sampling's numbers are on the processor.
    schedules = {steps: sigmas_of(model, steps, "simple") for steps in (1, 2, 4, 12, 30)}
    model.model.to(META)
    return model, sample


def network_bytes(title: str, precision: str, guided: bool, *, small: bool = False) -> dict[str, int]:
    """Bytes of one call of a model and its backward, batch 1.

    Returns:
        ``weights`` as they are loaded; ``kept`` of a call that is stored; ``stored``, ``call``, ``block``: the most at a time above the
        weights, with the call stored, with it checkpointed, with each block checkpointed as well and both conditionings apart.
    """
    model, sample = meta_model(title, precision, small=small)
    network = model.model.diffusion_model

    def action(make: Callable[..., NoiseToLatent], noise: Tensor) -> dict[str, int]:
        def most(**options: Any) -> int:
            return counted(lambda: gradient(make(**options), noise, torch.ones_like(noise)))[0]

        leaf = noise.clone().requires_grad_()
        kept = counted(lambda: make(use_checkpoint=False)(leaf))[1]
        stored, call = most(use_checkpoint=False), most()
        with memory.one_at_a_time(model), checkpointed_blocks(network):
            block = most()
        return {"weights": weights_of(network), "kept": kept, "stored": stored, "call": call, "block": block}

    return sample(action, 1, guided)


def judge_bytes(title: str, precision: str, *, small: bool = False) -> dict[str, int]:
    """Bytes of decoding a latent of the named size, scoring image and salient part by CLIP ViT-L/14 in float32, and backward: of the
    weights, and the most at a time above them, without and with the decoder's blocks checkpointed."""
    family, channels = family_of(title, small=small), 4 if title.startswith("SD 1") or title == "SDXL" else 16
    vae = real_vae(channels, "fp32", small=small)
    decoder = vae.first_stage_model.to(META, {"fp16": torch.float16, "bf16": torch.bfloat16}[precision])
    vae.vae_dtype, vae.device = next(decoder.parameters()).dtype, META
    vae.patcher.get_free_memory = lambda _: PLENTY
    with META:
        config = transformers.CLIPConfig(text_config=BASE, vision_config={**LARGE, "patch_size": 14})
        encoder: Any = transformers.CLIPModel(config).eval().requires_grad_(False)
    see = Preprocessing()
    latent = torch.zeros(1, channels, *family.size, device=META)

    def run(fine: bool) -> Tensor:
        leaf = latent.clone().requires_grad_()
        with gradients():
            images = decode_with_grad(vae, leaf, False, fine)
            seen = [encoder.vision_model(pixel_values=see(each)).pooler_output for each in (images, images * 0.5)]
            loss = sum(each.square().mean() for each in seen)
        return torch.autograd.grad(loss, leaf)[0]

    with on_meta():
        plain, block = (counted(partial(run, fine))[0] for fine in (False, True))
    return {"VAE and reward": weights_of(decoder) + weights_of(encoder), "decode": plain, "decode, blocks": block}
