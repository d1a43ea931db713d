"""Building a model class of ComfyUI small, with weights from a seed, and running it in core's guider."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.nested_tensor
import comfy.samplers
import comfy.supported_models
import torch
from comfy.ldm.modules.attention import attention_pytorch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.latent_optimization.autograd_mode import GradientMode
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ...every_output import EveryOutput
from ..guided import Probe
from .configurations import FAMILIES, Family

Gradient = Callable[[NoiseToLatent, Tensor], Tensor]
CLASSES = {cls.__name__: cls for cls in comfy.supported_models.models}


def seeded(shape: Any, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) * scale


def fill(module: nn.Module, seed: int, device: torch.device | str = "cpu") -> None:
    """Values of a size that keeps signals alive, for parameters and for buffers that core leaves uninitialized.

    They are drawn on ``device``, one by one: a whole copy of a large network may not fit.
    """
    generator = torch.Generator(device).manual_seed(seed)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator, device=device)
        if parameter.ndim > 1 and not name.endswith(("scale_shift_table", "modulation", "scale")):
            values = values * (1.0 / math.sqrt(parameter[0].numel()))
        else:
            values = values * 0.1 + (1.0 if name.endswith(("weight", "scale", "gamma")) else 0.0)
        parameter.data = values.to(parameter)
    for name, buffer in module.named_buffers():
        if name.endswith("pos_embed") or name == "rope.inv_freq":  # which core reads from the file
            buffer.copy_(torch.randn(buffer.shape, generator=generator, device=device) * 0.1)


def build(name: str, deep: bool = False, dtype: torch.dtype = torch.float32, seed: int = 0) -> comfy.model_patcher.ModelPatcher:
    """A MODEL of the class ``name``, as small as its network takes; with ``deep`` as many blocks as the family has."""
    family, cls = FAMILIES[name], CLASSES[name]
    config = {**cls.unet_config, **copy.deepcopy(family.config), **(copy.deepcopy(family.deep) if deep else {})}
    logging.disable(logging.WARNING)
    try:
        model_config = cls(config)
        model_config.unet_config.update({k: v for k, v in config.items() if k in cls.unet_extra_config and k in family.config})
        model_config.set_inference_dtype(dtype, None)
        model = model_config.get_model(_state(name), "", device=torch.device("cpu"))
    finally:
        logging.disable(logging.NOTSET)
    model.diffusion_model.eval()
    fill(model.diffusion_model, seed)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=device)


def _state(name: str) -> dict[str, Tensor]:
    if name == "Stable_Zero123":
        return {"cc_projection.weight": seeded((768, 772), 3, 0.03), "cc_projection.bias": seeded((768,), 4, 0.1)}
    return {}


def conditioning(family: Family, seed: int) -> list[Any]:
    options: dict[str, Any] = {}
    for index, (key, value) in enumerate(family.options.items()):
        if value == "ones":
            options[key] = torch.ones(1, family.context[0], dtype=torch.long)
        elif isinstance(value, list):
            options[key] = torch.tensor([value])
        elif isinstance(value, tuple):
            options[key] = seeded(value, seed + 10 * index)
        else:
            options[key] = value
    return [[seeded((1, *family.context), seed), options]]


def latent_shape(name: str, model: Any, batch: int = 1) -> tuple[int, ...]:
    latent_format = model.model.latent_format
    return (batch, FAMILIES[name].channels or latent_format.latent_channels, *FAMILIES[name].size)


def whole_noise(name: str, model: Any, batch: int = 1) -> Any:
    """Noise for the class ``name``, with a part for the sound where it makes sound too."""
    video, sound = seeded(latent_shape(name, model, batch), 0), FAMILIES[name].sound
    return comfy.nested_tensor.NestedTensor([video, seeded((batch, *sound), 1)]) if sound else video


class _OnACopy:
    """A model that is called with a copy of its input, so that gradients are summed up in the order in which our calls do."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.model(x.clone(), *args, **kwargs)


def through_guider(name: str, model: Any, action: Callable[[NoiseToLatent, Tensor], Any], batch: int = 1, cfg: float = 2.0) -> Any:
    """What ``action`` finds when core's CFGGuider samples 2 steps of Euler with guidance."""
    family, probe = FAMILIES[name], Probe(lambda make, noise: action(make(), noise))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(family, 1), conditioning(family, 2))
    guider.set_cfg(cfg)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 2)
    noise = whole_noise(name, model, batch)
    guider.sample(noise, noise * 0, probe, sigmas, None, seed=5)
    return probe.found


def slope_weights(like: Tensor) -> Tensor:
    return seeded(like.shape, 9).to(like)


def gradient(run: NoiseToLatent, noise: Tensor) -> Tensor:
    leaf = noise.clone().requires_grad_()
    latent = run(leaf)
    return torch.autograd.grad((latent.float() * slope_weights(latent.float())).sum(), leaf)[0]


def slope_error(run: NoiseToLatent, noise: Tensor, gradient: Gradient = gradient) -> float:
    """The slope along the gradient against central differences, relative; the best of a few step sizes: all that float32 can tell."""
    own = gradient(run, noise)
    direction = own / own.norm()
    found = []
    for step in (0.3, 0.1, 0.03, 0.01):
        up, down = (run(noise + sign * step * direction).double() for sign in (1, -1))
        slope = float(((up - down) * slope_weights(up).double()).sum() / (2 * step))
        found.append(abs(slope - float(own.norm())) / abs(slope))
    return min(found)


@contextmanager
def activations_stored(run: NoiseToLatent) -> Iterator[None]:
    """Within the context, calls keep their activations instead of recomputing them."""
    assert run._use_checkpoint
    run._use_checkpoint = False
    try:
        yield
    finally:
        run._use_checkpoint = True


def with_attention(model: comfy.model_patcher.ModelPatcher, override: Callable[..., Tensor]) -> comfy.model_patcher.ModelPatcher:
    """The same model with another attention, the way nodes bring it in: called with core's function and the arguments for that."""
    model = model.clone()
    model.model_options.setdefault("transformer_options", {})["optimized_attention_override"] = override
    return model


def torchs_attention(function: Any, *args: Any, **kwargs: Any) -> Tensor:
    """An override: torch's fused kernels, as ComfyUI uses them on NVIDIA cards."""
    return attention_pytorch(*args, **kwargs)


@contextmanager
def outputs_kept(run: NoiseToLatent) -> Iterator[None]:
    """Within the context, calls keep the outputs of convolutions, linear layers and torch's attention, however cheap."""
    before, run._stored = run._stored, EveryOutput()
    try:
        yield
    finally:
        run._stored = before


@contextmanager
def every_saved_tensor_copied() -> Iterator[None]:
    with saved_tensors_hooks(lambda tensor: tensor.detach().clone(), lambda tensor: tensor):
        yield


def reference(run: NoiseToLatent, noise: Tensor) -> Tensor:
    """Core's own sampler with nothing recomputed, and each saved tensor copied as it was when it was saved."""
    leaf = noise.clone().requires_grad_()
    options = {**run.extra_args, "model_options": comfy.model_patcher.create_model_options_clone(run.extra_args["model_options"])}
    with torch.enable_grad(), every_saved_tensor_copied(), GradientMode():
        latent = run.sampler.sample(_OnACopy(run.model), run.sigmas, options, None, leaf * 1, run.latent_image, run.denoise_mask, True)
    return torch.autograd.grad((latent.float() * slope_weights(latent.float())).sum(), leaf)[0]
