"""Runs through ComfyUI's own guider, handed to whoever wants to look at their gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.samplers
import torch
from sgool.comfy_bridge import memory
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from torch import Tensor

from .tiny_models import conditioning

SHAPE = (2, 4, 8, 8)


class Probe(comfy.samplers.Sampler):
    """Hands its run to ``action(make, noise)`` instead of sampling, and keeps what that gives in ``found``.

    ``make(**options)`` makes a :class:`NoiseToLatent` of the run.
    """

    found: Any = None

    def __init__(self, action: Callable[[Callable[..., NoiseToLatent], Tensor], Any], sampler: Any = "euler") -> None:
        self.action = action
        self.inner = comfy.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler

    def sample(  # noqa: PLR0917  (core's signature)
        self,
        model_wrap: Any,
        sigmas: Any,
        extra_args: Any,
        callback: Any,
        noise: Any,
        latent_image: Any,
        denoise_mask: Any,
        disable_pbar: Any,
    ) -> Tensor:
        make = partial(NoiseToLatent, self.inner, model_wrap, sigmas, extra_args, latent_image, denoise_mask)
        with memory.gradient_settings(model_wrap.model_patcher), torch.inference_mode(False):
            self.found = self.action(make, noise.clone())
        return noise


def through_guider(model: Any, action: Callable[[NoiseToLatent, Tensor], Any], name: str = "euler", **kwargs: Any) -> Any:
    """What ``action`` finds when ComfyUI's CFGGuider samples with 3 steps; ``kwargs`` may have positive, negative, denoise_mask."""
    options = kwargs.pop("options", {})
    probe = Probe(lambda make, noise: action(make(**options), noise), name)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(kwargs.get("positive", conditioning(1)), kwargs.get("negative", conditioning(2)))
    guider.set_cfg(kwargs.get("cfg", 2.0))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    guider.sample(noise, kwargs.get("latent_image", torch.zeros(SHAPE)), probe, sigmas, kwargs.get("denoise_mask"), seed=5)
    return probe.found


def weights() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(9))


def gradient(run: NoiseToLatent, noise: Tensor) -> Tensor:
    leaf = noise.requires_grad_()
    return torch.autograd.grad((run(leaf) * weights()).sum(), leaf)[0]


def error_along_gradient(run: NoiseToLatent, noise: Tensor) -> float:
    """The slope along the gradient against central differences, the best of a few step sizes: all that float32 can tell."""
    own = gradient(run, noise.clone())
    direction = own / own.norm()
    errors = []
    for step in (0.1, 0.03, 0.01):
        up, down = (run(noise + sign * step * direction).double() for sign in (1, -1))
        slope = float(((up - down) * weights().double()).sum() / (2 * step))
        errors.append(abs(slope - float(own.norm())) / abs(slope))
    return min(errors)
