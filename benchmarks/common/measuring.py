"""A clock, and sampling through ComfyUI's guider."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import comfy.samplers
import torch
from sgool.tests.comfyui.guided import Probe
from torch import Tensor


def seconds(run: Callable[[], Any], device: torch.device | str = "cpu") -> float:
    """Time one call: on a CPU the processor's time, all threads together, which other programs do not lengthen as they do the clock's."""
    cuda = torch.device(device).type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    began = clock()
    run()
    if cuda:
        torch.cuda.synchronize(device)
    return clock() - began


def sampled(model: Any, sampler: Any, noise: Tensor, conditions: tuple[Any, Any], options: dict[str, Any]) -> Tensor:
    """Sample through ComfyUI's guider. ``options``: ``steps``, and if need be ``cfg``, ``scheduler``, ``latent``, ``seed``."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conditions)
    guider.set_cfg(options.get("cfg", 1.0))
    sigmas = sigmas_of(model, options["steps"], options.get("scheduler", "normal"))
    latent = options.get("latent", torch.zeros_like(noise))
    return guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=options.get("seed", 0))


def probed(model: Any, action: Callable[..., Any], noise: Tensor, conditions: tuple[Any, Any], options: dict[str, Any]) -> Any:
    """What ``action(make, noise)`` finds in the place of such a run; see :class:`Probe`."""
    probe = Probe(action)
    sampled(model, probe, noise, conditions, options)
    return probe.found


def sigmas_of(model: Any, steps: int, scheduler: str = "normal") -> Tensor:
    """A schedule of ``steps + 1`` sigmas."""
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
