"""Clocks and memory counters, and sampling through ComfyUI's guider."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import comfy.samplers
import torch
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


def held_bytes(run: Callable[[], Any], device: torch.device | str = "cpu") -> tuple[int, int]:
    """The most bytes that tensors made by one call took at a time, and how many still live when it has returned."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        kept = run()
        return torch.cuda.max_memory_allocated(device) - before, torch.cuda.memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = run()
        gc.collect()
    del kept
    own, held, most = set[int](), 0, 0
    for address, size in _memory_events(profile):
        if size > 0:
            own.add(address)
        elif address not in own:  # made before, by something else
            continue
        held += size
        most = max(most, held)
    return most, held


def _memory_events(profile: Any) -> list[tuple[int, int]]:
    """Address and bytes of what was taken (above 0) and given back (below), in order."""
    found, todo = [], list(profile.profiler.kineto_results.experimental_event_tree())
    while todo:
        event = todo.pop()
        todo += event.children
        kind, fields = event.typed
        if kind == torch._C._profiler._EventType.Allocation:
            found.append((event.start_time_ns, fields.ptr, fields.alloc_size))
    return [(address, size) for _, address, size in sorted(found, key=lambda each: each[0])]


def sampled(model: Any, sampler: Any, noise: Tensor, conditions: tuple[Any, Any], options: dict[str, Any]) -> Tensor:
    """Sample through ComfyUI's guider. ``options``: ``steps``, and if need be ``cfg``, ``scheduler``, ``latent``, ``seed``."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conditions)
    guider.set_cfg(options.get("cfg", 1.0))
    sigmas = sigmas_of(model, options["steps"], options.get("scheduler", "normal"))
    latent = options.get("latent", torch.zeros_like(noise))
    return guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=options.get("seed", 0))


def sigmas_of(model: Any, steps: int, scheduler: str = "normal") -> Tensor:
    """A schedule of ``steps + 1`` sigmas."""
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
