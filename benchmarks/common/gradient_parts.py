"""What a gradient through a real-size model costs, part by part, as ``bench gpu`` runs them: each in a process of its own.

F is one forward of the model for one call, of the same batch. "everything kept" and so on are the steps of docs/memory.md.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import comfy.model_management
import torch
import transformers
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.vae import decode_with_grad
from sgool.latent_optimization.autograd_mode import OrdinaryTensors
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule, checkpointed_blocks
from sgool.latent_optimization.stored_calls import StoredCalls
from sgool.tests.comfyui.families.building import conditioning
from torch import Tensor, nn

from .live_bytes import most_bytes
from .measuring import probed, seconds
from .real_sizes import as_float32, family_of, noise_for, real_model, real_vae
from .seeded_rewards import LARGE

GIB = 2**30
STEPS = 2
VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "everything kept": ({"use_checkpoint": False}, False),
    "each call checkpointed": ({"stored": StoredCalls(0, lambda: 0.0)}, False),  # which counts what the next one keeps
    "dearest outputs kept": ({"stored": StoredCalls(0, lambda: math.inf, outputs=True)}, False),
    "each block as well": ({}, True),
}
SCHEDULES: dict[str, tuple[dict[str, Any], bool]] = {
    **VARIANTS,
    "last three calls kept": ({"stored": StoredCalls(3, lambda: 0.0)}, False),
    "last call only": ({"schedule": JacobianSchedule("last", 1)}, False),
    "every second call": ({"schedule": JacobianSchedule("every", 2)}, False),
}
Found = dict[str, Any]
Runs = dict[str, Callable[[], Any]]


def gradient(run: Callable[[Tensor], Tensor], noise: Tensor, weights: Tensor) -> Tensor:
    """Of a weighted sum of the latent, in the noise."""
    leaf = noise.clone().requires_grad_()
    return torch.autograd.grad(run(leaf), leaf, weights)[0]


class Case:
    """A model of real size, noise for it, and what runs in its sampling; ``small`` to ``offload`` as :func:`real_model` and
    :func:`noise_for` have them, ``repeats`` of what is timed."""

    def __init__(
        self, title: str, precision: str, *, small: bool, repeats: int, batch: int = 1, latent: int = 0, offload: bool = False
    ) -> None:
        self.device, self.small, self.repeats = comfy.model_management.get_torch_device(), small, repeats
        self.model = real_model(title, precision, self.device, small=small, offload=offload)
        self.noise = noise_for(title, self.model, batch, small=small, latent=latent)
        self.network: nn.Module = self.model.model.diffusion_model
        self.conditions = conditioning(family_of(title, small=small), 1)
        self.has_exact = batch == 1 and not offload and precision != "fp32"

    def within(self, action: Callable[[Callable[..., NoiseToLatent], Tensor], Any], steps: int = STEPS) -> Any:
        """What ``action(make, noise)`` finds within core's guider, one conditioning, Euler."""
        return probed(self.model, action, self.noise, (self.conditions,) * 2, {"steps": steps, "scheduler": "simple"})


def ways(make: Callable[..., NoiseToLatent], noise: Tensor, network: nn.Module, variants: Any = VARIANTS) -> Runs:
    """Sampling, and each way to a gradient."""

    def with_gradient(options: dict[str, Any], blocks: bool) -> None:
        with checkpointed_blocks(network) if blocks else contextlib.nullcontext():
            gradient(make(**options), noise, torch.ones_like(noise))

    return {"forward": partial(make().plain, noise), **{name: partial(with_gradient, *way) for name, way in variants.items()}}


def measured(runs: Runs, device: torch.device, repeats: int, steps: int = STEPS, *, peaks_too: bool = True) -> Found:
    """Time of each run in F a step (taken in turns, the median) and its peak; ``None`` where memory does not suffice.

    Without ``peaks_too``, which on a processor takes longer than the times, peaks are 0.

    "rounds": the seconds a step of each run in each round, after one that warms up. Each round goes the other way round, so that a machine
    that gets slower or faster meanwhile does so for all.
    """
    peaks = {name: _peak(run, device) if peaks_too else (run(), 0)[1] for name, run in runs.items()}  # and warms up
    fitting = {name: runs[name] for name, peak in peaks.items() if peak is not None}
    if "forward" not in fitting:
        return {"forward": None}
    rounds = []
    for number in range(repeats):
        rounds.append({name: seconds(fitting[name], device) / steps for name in (reversed(fitting) if number % 2 else fitting)})
        print(f"round {number + 1}, seconds a step: {rounds[-1]}", flush=True)
    found: Found = {"seconds of F": round(statistics.median(taken["forward"] for taken in rounds), 4)}
    for name, peak in peaks.items():
        found[name] = None if peak is None else {**spread_in(name, "forward", "F", rounds), "GiB": round(peak / GIB, 6)}
    return found | {"rounds": {name: [round(taken[name], 4) for taken in rounds] for name in fitting}}


def spread_in(name: str, unit: str, title: str, rounds: Sequence[Mapping[str, float]]) -> Found:
    """The median over the rounds of one run's time over another's, as ``title``, and the least and the most."""
    ratios = [taken[name] / taken[unit] for taken in rounds]
    return {title: round(statistics.median(ratios), 3), "range": [round(min(ratios), 3), round(max(ratios), 3)]}


def _peak(run: Callable[[], Any], device: torch.device) -> int | None:
    try:
        return most_bytes(run, device)
    except Exception as error:
        if not comfy.model_management.is_oom(error):
            raise
    comfy.model_management.soft_empty_cache()
    return None


def costs(case: Case) -> Found:
    """Time, peak, and the cosine of the gradient with float32's, of the same weights and of as many as fit."""
    found = {"weights GiB": round(sum(each.nbytes for each in case.network.parameters()) / GIB, 2)}
    found |= case.within(lambda make, x: measured(ways(make, x, case.network), case.device, case.repeats))
    if case.has_exact:

        def exact(make: Callable[..., NoiseToLatent], x: Tensor) -> Tensor:
            return gradient(make(), x, torch.ones_like(x)).double().flatten()

        own = case.within(exact)
        with contextlib.suppress(torch.OutOfMemoryError):
            as_float32(case.model)
            found["cosine to fp32"] = round(float(torch.cosine_similarity(own, case.within(exact), dim=0)), 5)
    return found


def schedules(case: Case, steps: int = 6) -> Found:
    """A gradient through more steps, in F a step: with all calls or some of them kept, and through some of them."""
    return case.within(lambda make, x: measured(ways(make, x, case.network, SCHEDULES), case.device, case.repeats, steps), steps)


def iteration(case: Case, steps: int = 4) -> Found:
    """One whole iteration split by part, in seconds: sampler, decoder, reward (CLIP ViT-L/14's image tower), and all backwards."""
    device, cuda = case.device, case.device.type == "cuda"
    vae = real_vae(case.noise.shape[1], "fp32" if device.type == "cpu" else "bf16", small=case.small)
    with torch.inference_mode(False):
        config = transformers.CLIPVisionConfig(**({} if case.small else LARGE), patch_size=14)
        tower = transformers.CLIPVisionModel(config).to(device).eval().requires_grad_(False)

    def once(make: Callable[..., NoiseToLatent], x: Tensor) -> Found:
        leaf, taken, kept = x.clone().requires_grad_(), dict[str, float](), list[Any]()

        def timed(name: str, run: Callable[[], Any]) -> Any:
            taken[name] = round(seconds(lambda: kept.append(run()), device), 4)
            return kept.pop()

        latent = timed("sampler", lambda: make()(leaf))
        own = latent.detach().requires_grad_()
        images = timed("decoder", lambda: decode_with_grad(vae, own, True))
        seen = torch.nn.functional.interpolate(images.to(device), (224, 224), mode="bicubic", antialias=True)
        loss = timed("reward", lambda: tower(pixel_values=seen).pooler_output.pow(2).mean())
        (incoming,) = timed("backward of reward and decoder", lambda: torch.autograd.grad(loss, own))
        timed("backward of the sampler", lambda: torch.autograd.grad(latent, leaf, incoming))
        return taken

    def action(make: Callable[..., NoiseToLatent], x: Tensor) -> Found:
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        rounds = [once(make, x) for _ in range(case.repeats + 1)][1:]
        found: Found = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        peak = {"peak GiB, weights included": round(torch.cuda.max_memory_allocated(device) / GIB, 2)} if cuda else {}
        return {"steps": steps, **found, **peak}

    return case.within(action, steps)


@contextlib.contextmanager
def ordinary_weights(network: nn.Module) -> Iterator[None]:
    """Within the context, the network's parameters are ordinary tensors on the same memory, as plain autograd needs them."""
    ordinary, before = OrdinaryTensors(), list[tuple[dict[str, Any], str, Any]]()
    try:
        for module in network.modules():
            holders: list[dict[str, Any]] = [module._parameters, module._buffers]  # type: ignore[list-item]
            for held in holders:
                for name, tensor in list(held.items()):
                    if tensor is not None and tensor.is_inference():
                        before.append((held, name, tensor))
                        own = ordinary.of(tensor)
                        held[name] = nn.Parameter(own, requires_grad=False) if isinstance(tensor, nn.Parameter) else own
        yield
    finally:
        for held, name, tensor in before:
            held[name] = tensor


def beside_doodl(case: Case) -> Found:
    """Ours in F a step, beside plain autograd with ordinary weights and the published procedure, transcribed; in turns, in one run."""

    def action(make: Callable[..., NoiseToLatent], x: Tensor) -> Found:
        weights, run = torch.ones_like(x), make()
        steps = len(run.sigmas) - 1
        sigmas, options, wrap = run.sigmas.clone(), run.arguments(True), run.model

        def euler(start: Tensor) -> Tensor:
            state = start
            for now, following in itertools.pairwise(sigmas):
                denoised = wrap(state, now.expand(len(state)), **options)
                state = state + (state - denoised) / now * (following - now)
            return state

        def plainly(sampler: Callable[[Tensor], Tensor]) -> None:
            with ordinary_weights(case.network), torch.enable_grad():
                gradient(sampler, x, weights)

        def doodl(start: Tensor) -> Tensor:
            return edict(start, sigmas, lambda y, sigma: wrap(y, sigma.expand(len(y)), **options))

        beside: Runs = {"plain autograd": partial(plainly, euler), "DOODL's procedure": partial(plainly, doodl)}
        every, device = {**ways(make, x, case.network), **beside}, case.device
        found = measured(every, device, case.repeats, steps, peaks_too=device.type != "cpu")
        rounds = [dict(zip(found["rounds"], taken, strict=True)) for taken in zip(*found["rounds"].values(), strict=True)]
        if found["everything kept"] and found["plain autograd"]:
            found["the mode's own"] = spread_in("everything kept", "plain autograd", "of plain autograd's", rounds)
        if found["DOODL's procedure"]:
            found["of DOODL's"] = {way: spread_in(way, "DOODL's procedure", "part", rounds) for way in VARIANTS if found[way]}
        return found

    return case.within(action, steps=1)


class _EdictStep(torch.autograd.Function):
    """One step of EDICT as DOODL's released code differentiates it: its inputs kept, its two calls made again in backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, step: Callable[..., tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        ctx.step = step
        ctx.save_for_backward(x, y)
        with torch.no_grad():
            return step(x, y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        leaves = [each.detach().requires_grad_() for each in ctx.saved_tensors]
        with torch.enable_grad():
            ends = ctx.step(*leaves)
        return (*torch.autograd.grad(ends, leaves, gradients), None)


def edict(noise: Tensor, sigmas: Tensor, denoised: Callable[[Tensor, Tensor], Tensor], p: float = 0.93) -> Tensor:
    """The mean of the coupled pair that EDICT (arXiv 2211.12446, eq. 12 to 15) ends with; in sigmas its steps are Euler's."""
    x = y = noise
    for now, following in itertools.pairwise(sigmas):

        def step(x: Tensor, y: Tensor, now: Tensor = now, following: Tensor = following) -> tuple[Tensor, Tensor]:
            x = x + (y - denoised(y, now)) / now * (following - now)
            y = y + (x - denoised(x, now)) / now * (following - now)
            x = p * x + (1 - p) * y
            return x, p * y + (1 - p) * x

        x, y = _EdictStep.apply(x, y, step)
    return (x + y) / 2
