"""KSampler with its noise optimized: the same steps as core's ``nodes.common_ksampler``, through the same functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..guidance.objective import Objective
from ..latent_optimization.presets import Preset
from .latent_parts import like_latent
from .outcome import Outcome
from .plain_runs import fixed_latent, joined
from .procedure import replacement, sampler_for
from .sgool_sampler import SGOOLSampler
from .top_images import NESTED, in_latent


@dataclass
class KSampled:
    """What :func:`sample` returns.

    Attributes:
        latent: LATENT, what core's KSampler would return for the optimized noise; with a ``top_k`` above 1 the best of each image after
            another, ranked.
        noise: LATENT with that noise, or those noises, in its ``samples``.
        outcome: of the optimization, or ``None`` where ``denoise`` left nothing to sample.
    """

    latent: dict[str, Any]
    noise: dict[str, Any]
    outcome: Outcome | None


def sample(
    *,
    model: Any,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Any,
    negative: Any,
    latent: dict[str, Any],
    denoise: float,
    objective: Objective | None,
    vae: Any,
    preset: Preset,
    held_out: Objective | None = None,
    top_k: int = 1,
) -> KSampled:
    """Do what core's KSampler does, with its sampler wrapped by an :class:`SGOOLSampler`.

    All arguments but the last five, which are the wrapper's, are KSampler's own. With nothing to optimize the LATENT is KSampler's, bit
    for bit. A procedure's solver, steps and guidance scale take the place of ``sampler_name``, ``steps`` and ``cfg``; the outcome says so.
    """
    procedure = preset.procedure
    remarks = [] if procedure is None else [replacement(procedure, sampler_name, steps, cfg)]
    if procedure is not None:
        steps, cfg = procedure.steps, procedure.cfg
        sampler_name = "euler"  # for its schedule, which no step is dropped from
    if top_k > 1 and latent["samples"].is_nested:
        raise ValueError(NESTED)
    image, latent = fixed_latent(model, latent)
    noise = comfy.sample.prepare_noise(image, seed, latent.get("batch_index"))
    # Core's class knows which schedulers and samplers drop a step, and what `denoise` does to the sigmas.
    ksampler = comfy.samplers.KSampler(
        model,
        steps=steps,
        device=model.load_device,
        sampler=sampler_name,
        scheduler=scheduler,
        denoise=denoise,
        model_options=model.model_options,
    )
    inner = comfy.samplers.sampler_object(ksampler.sampler) if procedure is None else sampler_for(procedure)
    sampler = SGOOLSampler(inner, objective, vae, preset, remarks, held_out=held_out, top_k=top_k)
    samples = comfy.sample.sample_custom(
        model,
        noise,
        cfg,
        sampler,
        ksampler.sigmas,
        positive,
        negative,
        image,
        noise_mask=latent.get("noise_mask"),
        # While noise is optimized, the sampler shows its own progress, with decoded images.
        callback=None if sampler.optimizes else latent_preview.prepare_callback(model, steps),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    outcome = sampler.outcomes.last
    if outcome is not None and outcome.top:
        return _ranked(model.model, latent, samples, outcome)
    best = noise if outcome is None or not sampler.optimizes else like_latent(outcome.noise, image)
    without_mask = {key: value for key, value in latent.items() if key != "noise_mask"}
    return KSampled({**latent, "samples": samples}, {**without_mask, "samples": best}, outcome)


def _ranked(model: Any, latent: dict[str, Any], samples: Tensor, outcome: Outcome) -> KSampled:
    """The best of each image of ``latent``, of which the first is what was sampled."""
    own = list(samples.split(len(samples) // len(outcome.top)))
    ranked, noises = list[tuple[int, Tensor]](), list[tuple[int, Tensor]]()
    for place, (first, several) in enumerate(zip(own, outcome.top, strict=True)):
        ranked += [(place, first), *((place, in_latent(model, each.samples, samples)) for each in several[1:])]
        noises += [(place, each.noise.to(torch.float32)) for each in several]
    without_mask = {key: value for key, value in latent.items() if key != "noise_mask"}
    return KSampled(joined(latent, ranked, len(own)), joined(without_mask, noises, len(own)), outcome)
