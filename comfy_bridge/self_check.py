"""Whether a model's gradient is its slope: one directional difference of one model call.

For what no test of ours has seen: a custom node's patch that detaches, a third party's kernel or network. It costs about seven forward
passes of one model call (forward, recomputation, backward and four more), once per model, process and set of such parties. It looks along
the gradient, where a difference in working precision agrees to some per cent: it finds gross errors, and none that is at right angles to
the gradient.

What is detached (an attention patch's output, say) may change the slope by less than that. So where the model detaches a tensor, the
gradient is taken once more with nothing detached, for three forward passes more, and the slope says which of the two is right.
"""

from __future__ import annotations

import logging
import weakref
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..latent_optimization.autograd_mode import GradientMode
from ..latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule
from ..latent_optimization.presets import CHECK_ALWAYS, CHECK_NEVER
from . import memory
from .compiled import UncompiledGradients
from .noise_to_latent import NoiseToLatent
from .third_party import third_parties

TOLERANCE = 0.2
MATTERS = 0.01
"""More than that of the slope along the gradient, and detaching has changed it."""

STEPS = (0.02, 0.005)
"""Of the differences, in lengths of the latent; the one that agrees best counts."""

CALLS = 1 + 2 * len(STEPS)
"""Model calls of a check, without the one that backward makes again; one more where something is detached."""

WARNING = (
    "The gradient through one call of this model does not agree with the model's own slope: along it the model changes by {slope:.3g}, "
    "the gradient says {expected:.3g}. A patch on the model (a node that caches, detaches, answers at random or brings a kernel of its "
    "own) is in its way{names}. The run goes on, but may not improve anything; leave out that node."
)
AGREES = "{names}: not seen by this pack's tests, so the gradient of one model call was compared with the model's slope once: it agrees."
TOO_LARGE = "The gradient of this model was not checked: there was no memory for it{names}."
_DETACHING: frozenset[Any] = frozenset({Tensor.detach, Tensor.detach_, Tensor.data.__get__, torch.detach, torch.detach_})  # type: ignore[attr-defined]
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
            warning, calls = warning_about_gradient(run, noise.clone(), names)
    except Exception as error:
        if not memory.ran_out(error):
            raise
        logging.info("SGOOL: out of memory in the check of the gradient.")
        return Checked((TOO_LARGE.format(names=_here(names)),))
    told[key] = warning
    agrees = [AGREES.format(names=", ".join(names))] if names else []
    return Checked(tuple(agrees if warning is None else [warning]), calls)


def warning_about_gradient(run: NoiseToLatent, noise: Tensor, names: list[str] | None = None) -> tuple[str | None, int]:
    """Compare the gradient of one model call of ``run`` with a difference.

    Args:
        run: on a model that is loaded; call within ``memory.gradient_settings`` and outside inference mode, as a run is.
        noise: ``(B, ...)`` in the sampler's space.
        names: of those whose code is on the model.

    Returns:
        A sentence if they disagree, else ``None``; and the model calls that were made.
    """
    call = _OneCall(run, noise.detach())
    try:
        gradient, detaches = call.gradient()
        length = float(gradient.double().norm())
        direction = gradient / length if length > 0 else call.against / call.against.norm()
        slopes = call.slopes(direction)
        slope = min(slopes, key=lambda each: abs(each - length))
        agrees = abs(slope - length) <= TOLERANCE * max(abs(slope), length)
        if agrees and detaches:
            attached = float((call.gradient(attached=True)[0].double() * direction.double()).sum())
            nearer = min(abs(each - attached) for each in slopes) < abs(slope - length)
            agrees = not (nearer and abs(attached - length) > MATTERS * length)
    finally:
        run.begin()
    return None if agrees else WARNING.format(slope=slope, expected=length, names=_here(names)), call.made


class _OneCall:
    """A random sum of one model call's result, as a function of the call's input.

    Attributes:
        against: the sum's weights.
        made: how many calls were made.
    """

    def __init__(self, run: NoiseToLatent, noise: Tensor) -> None:
        self._run, self._sigma, self.made = run, run.sigmas[:1], 0
        image = torch.zeros_like(noise) if run.latent_image is None else run.latent_image
        sampling = run.model.inner_model.model_sampling
        self._x = sampling.noise_scaling(self._sigma.reshape([1] * noise.ndim), noise, image, False).clone()
        self.against = torch.randn(self._x.shape, generator=torch.Generator().manual_seed(0)).to(self._x)

    def gradient(self, attached: bool = False) -> tuple[Tensor, bool]:
        """In the input; and whether the model detaches. ``attached``: as if it did not."""
        leaf = self._x.clone().requires_grad_()
        watched = _Watched(self._run.model, attached)
        with torch.enable_grad():
            result = self._value(leaf * 1, watched)
        found = torch.autograd.grad(result, leaf)[0] if result.requires_grad else torch.zeros_like(leaf)
        return found, watched.detaches

    def slopes(self, direction: Tensor) -> list[float]:
        """By central differences of several lengths."""
        found = []
        with torch.no_grad():
            for step in (float(self._x.norm()) * part for part in STEPS):
                above, below = (self._value(self._x + sign * step * direction, self._run.model).double() for sign in (1, -1))
                found.append(float(above - below) / (2 * step))
        return found

    def _value(self, given: Tensor, model: Any) -> Tensor:
        run, mode = self._run, GradientMode(keep_history=True, copy_constants=True)
        cancel = comfy.model_management.throw_exception_if_processing_interrupted
        calls = CheckpointedCalls(UncompiledGradients(model), JacobianSchedule(), 1, mode, before_call=cancel, state=run.model_state.note)
        run.begin()
        arguments = run.arguments(with_grad=True)
        options, seed = arguments.get("model_options", {}), arguments.get("seed")
        self.made += 1
        with mode:  # less the input, which is most of a denoised latent whatever the network does
            return ((given - calls(given, self._sigma.expand(len(given)), model_options=options, seed=seed)) * self.against).sum()


class _Watched:
    """A model whose calls notice when a tensor with history is detached in them; ``attached``: and leave it its history."""

    def __init__(self, model: Any, attached: bool) -> None:
        self._model, self._attached, self.detaches = model, attached, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        with GradientMode(keep_history=True, copy_constants=True) if self._attached else _Notice(self):
            return self._model(*args, **kwargs)


class _Notice(TorchFunctionMode):
    def __init__(self, watched: _Watched) -> None:
        super().__init__()
        self._watched = watched

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in _DETACHING and args[0].requires_grad:
            self._watched.detaches = True
        return func(*args, **(kwargs or {}))


def _here(names: list[str] | None) -> str:
    return f" (here: {', '.join(names)})" if names else ""
