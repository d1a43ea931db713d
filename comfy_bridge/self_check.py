"""Whether a model's gradient is its slope: one directional difference of one model call.

For what no test of ours has seen: a custom node's patch that detaches, a third party's kernel, a compiled model. It costs about seven
forward passes of one model call (forward, recomputation, backward and four more), once per model and process. It looks along the gradient,
where a difference in working precision agrees to some per cent: it finds gross errors, and none that is at right angles to the gradient.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..latent_optimization.autograd_mode import GradientMode
from ..latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule
from .noise_to_latent import NoiseToLatent

TOLERANCE = 0.2
STEPS = (0.02, 0.005)
"""Of the differences, in lengths of the latent; the one that agrees best counts."""

WARNING = (
    "The gradient through one call of this model does not agree with the model's own slope: along it the model changes by {slope:.3g}, "
    "the gradient says {expected:.3g}. A patch on the model (a node that caches, detaches or brings a kernel of its own) is in its way. "
    "The run goes on, but may not improve anything; leave out that node."
)
_checked: weakref.WeakSet[Any] = weakref.WeakSet()


def warning_about_gradient(
    run: NoiseToLatent,
    noise: Tensor,
    *,
    copy_constants: bool = False,
    before_call: Callable[[], None] | None = None,
    again: bool = False,
) -> str | None:
    """Compare the gradient of one model call of ``run`` with a difference; a sentence if they disagree, else ``None``.

    Args:
        run: on a model that is loaded; call within ``memory.gradient_settings`` and outside inference mode, as a run is.
        noise: ``(B, ...)`` in the sampler's space; its first image is used.
        copy_constants: as for ``run``.
        before_call: as for ``run``.
        again: also for a model that has been checked in this process.
    """
    base = run.model.inner_model
    if base in _checked and not again:
        return None
    _checked.add(base)
    noise, sigma = noise[:1].detach(), run.sigmas[:1]
    image = torch.zeros_like(noise) if run.latent_image is None else run.latent_image[:1]
    x = base.model_sampling.noise_scaling(sigma.reshape([1] * noise.ndim), noise, image, False).clone()
    against = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    mode = GradientMode(keep_history=True, copy_constants=copy_constants)
    calls = CheckpointedCalls(run.model, JacobianSchedule(), 1, mode, before_call=before_call)

    def value(given: Tensor) -> Tensor:
        options, seed = run.extra_args.get("model_options", {}), run.extra_args.get("seed")
        with mode:  # less the input, which is most of a denoised latent whatever the network does
            return ((given - calls(given, sigma, model_options=options, seed=seed)) * against).sum()

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
    best = min(slopes, key=lambda slope: abs(slope - length))
    agrees = abs(best - length) <= TOLERANCE * max(abs(best), length)
    return None if agrees else WARNING.format(slope=best, expected=length)
