"""Whether a model's gradient is its slope: one directional difference of one model call.

For what no test of ours has seen: a custom node's patch that detaches, a third party's kernel or network. It costs about seven forward
passes of one model call (forward, recomputation, backward and four more), once per model, process and set of such parties. It looks along
the gradient, where a difference in working precision agrees to some per cent: it finds gross errors, and none that is at right angles to
the gradient.
"""

from __future__ import annotations

import logging
import weakref
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..latent_optimization.autograd_mode import GradientMode
from ..latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule
from ..latent_optimization.presets import CHECK_ALWAYS, CHECK_NEVER
from . import memory
from .compiled import UncompiledGradients
from .noise_to_latent import NoiseToLatent
from .third_party import third_parties

TOLERANCE = 0.2
STEPS = (0.02, 0.005)
"""Of the differences, in lengths of the latent; the one that agrees best counts."""

CALLS = 1 + 2 * len(STEPS)
"""Model calls of a check, without the one that backward makes again."""

WARNING = (
    "The gradient through one call of this model does not agree with the model's own slope: along it the model changes by {slope:.3g}, "
    "the gradient says {expected:.3g}. A patch on the model (a node that caches, detaches, answers at random or brings a kernel of its "
    "own) is in its way{names}. The run goes on, but may not improve anything; leave out that node."
)
AGREES = "{names}: not seen by this pack's tests, so the gradient of one model call was compared with the model's slope once: it agrees."
TOO_LARGE = "The gradient of this model was not checked: there was no memory for it{names}."
_told: weakref.WeakKeyDictionary[Any, dict[tuple[str, ...], str | None]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Checked:
    """What a run is told of its model's gradient.

    Attributes:
        messages: sentences for the user.
        calls: model calls that it took.
    """

    messages: tuple[str, ...] = ()
    calls: int = 0


def check(run: NoiseToLatent, noise: Tensor, when: str) -> Checked:
    """See whether the gradient of ``run``'s model can be trusted, once per process, model and set of third parties on it.

    Args:
        run: on a model that is loaded.
        noise: ``(B, ...)`` in the sampler's space.
        when: one of ``presets.CHECKS``: only where somebody else's code is on the model, always, or never.
    """
    if when == CHECK_NEVER:
        return Checked()
    names = third_parties(run.model, run.extra_args)
    if not names and when != CHECK_ALWAYS:
        return Checked()
    told = _told.setdefault(run.model.inner_model, {})
    key = tuple(names)
    if key in told:  # a warning is repeated, it costs nothing
        warning = told[key]
        return Checked() if warning is None else Checked((warning,))
    try:
        with memory.gradient_settings(run.model.model_patcher), torch.inference_mode(False):
            warning = warning_about_gradient(run, noise.clone(), names)
    except Exception as error:
        if not comfy.model_management.is_oom(error):
            raise
        logging.info("SGOOL: out of memory in the check of the gradient.")
        return Checked((TOO_LARGE.format(names=_here(names)),))
    told[key] = warning
    agrees = [AGREES.format(names=", ".join(names))] if names else []
    return Checked(tuple(agrees if warning is None else [warning]), CALLS)


def warning_about_gradient(run: NoiseToLatent, noise: Tensor, names: list[str] | None = None) -> str | None:
    """Compare the gradient of one model call of ``run`` with a difference; a sentence if they disagree, else ``None``.

    Args:
        run: on a model that is loaded; call within ``memory.gradient_settings`` and outside inference mode, as a run is.
        noise: ``(B, ...)`` in the sampler's space.
        names: of those whose code is on the model.
    """
    base = run.model.inner_model
    noise, sigma = noise.detach(), run.sigmas[:1]
    image = torch.zeros_like(noise) if run.latent_image is None else run.latent_image
    x = base.model_sampling.noise_scaling(sigma.reshape([1] * noise.ndim), noise, image, False).clone()
    against = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    mode = GradientMode(keep_history=True, copy_constants=True)
    cancel = comfy.model_management.throw_exception_if_processing_interrupted
    calls = CheckpointedCalls(UncompiledGradients(run.model), JacobianSchedule(), 1, mode, before_call=cancel, state=run.model_state.note)

    def value(given: Tensor) -> Tensor:
        run.begin()
        given_args = run.arguments(with_grad=True)
        options, seed = given_args.get("model_options", {}), given_args.get("seed")
        with mode:  # less the input, which is most of a denoised latent whatever the network does
            return ((given - calls(given, sigma.expand(len(x)), model_options=options, seed=seed)) * against).sum()

    try:
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            result = value(leaf * 1)
        gradient = torch.autograd.grad(result, leaf)[0] if result.requires_grad else torch.zeros_like(leaf)
        length = float(gradient.double().norm())
        direction = gradient / length if length > 0 else against / against.norm()
        with torch.no_grad():
            slopes = [
                float(value(x + step * direction).double() - value(x - step * direction).double()) / (2 * step)
                for step in (float(x.norm()) * part for part in STEPS)
            ]
    finally:
        run.begin()
    best = min(slopes, key=lambda slope: abs(slope - length))
    agrees = abs(best - length) <= TOLERANCE * max(abs(best), length)
    return None if agrees else WARNING.format(slope=best, expected=length, names=_here(names))


def _here(names: list[str] | None) -> str:
    return f" (here: {', '.join(names)})" if names else ""
