"""How many noises a search samples in one batch: a GPU is often not busy with one, and only latents leave a run without gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.samplers

from . import memory
from .latent_parts import Parts
from .noise_to_latent import NoiseToLatent
from .third_party import third_parties

# A gradient through one call takes CALL_RATIO of core's estimates, which are kept free anyway: so many at once need no more.
MOST = 8
# These draw nothing on the way, or only where an option asks for it. What others draw depends on the size of the batch.
_DRAWS_NOTHING = (
    "euler",
    "heun",
    "dpm_2",
    "lms",
    "dpmpp_2m",
    "heunpp2",
    "ipndm",
    "ipndm_v",
    "deis",
    "res_multistep",
    "gradient_estimation",
)
DETERMINISTIC = frozenset({*(f"sample_{name}" for name in _DRAWS_NOTHING), "sample_euler_cfg_pp", "sample_dpmpp_2m_cfg_pp"})
_DRAWING_OPTIONS = ("s_churn", "eta")


def noises_at_once(run: NoiseToLatent, parts: Parts, shape: Sequence[int]) -> int:
    """At least 1, at most ``MOST``: as many as free memory holds, where a noise in a batch gives what it gives alone.

    One where the sampler draws noise on its way, the batch is a video, the model remembers something or has other packs' code on it; and on
    a processor, which takes as long for two as for one after another.

    Args:
        run: on a model that is loaded.
        parts: what of the run's batch is one image.
        shape: of the run's noise.
    """
    device = run.model.model_patcher.load_device
    if device.type in ("cpu", "mps") or type(parts) is not Parts or not _draws_nothing(run.sampler):
        return 1
    options = run.extra_args.get("model_options", {})
    if run.model_state.names or options.get("context_handler") is not None or third_parties(run.model, run.extra_args):
        return 1
    of_one = memory.estimate(run.model.inner_model, shape, fine=False) / memory.CALL_RATIO
    return max(1, min(MOST, int(memory.room(device, 0.0) // of_one))) if of_one > 0 else 1


def _draws_nothing(sampler: Any) -> bool:
    if type(sampler) is not comfy.samplers.KSAMPLER or sampler.inpaint_options.get("random", False):
        return False
    draws = any(sampler.extra_options.get(name) for name in _DRAWING_OPTIONS)
    return getattr(sampler.sampler_function, "__name__", "") in DETERMINISTIC and not draws
