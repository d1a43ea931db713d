"""What a patched model remembers from one call to the next, so that every run and every recomputed call finds what it found first.

ComfyUI samples once, in order of falling sigma, and several of its nodes count on that: LoRA hooks go through their keyframes, EasyCache
and LazyCache skip calls by what the last ones changed, APG adds up its guidance. An optimization samples many times, and backward makes
calls again in the reverse order. So what a model remembers is noted before each call, and put back before that call is made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import comfy.conds
import comfy.hooks
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor

from .object_state import Snapshot

# Computed again where they are missing, at a cost: not to be taken away. The rest are torch's own, of a module.
CACHES = frozenset({"cond_hint", "control_input", "extra_concat", "_parameters", "_buffers", "_modules"})
_SKIPPED = (comfy.model_patcher.ModelPatcher, comfy.sd.VAE, comfy.sd.CLIP, comfy.conds.CONDRegular, comfy.conds.CONDConstant)
_OWN_BUSINESS = ("comfy.utils", "comfy.model_management", "comfy.multigpu", "comfy.weight_adapter", "comfy.latent_formats", "comfy.ldm")
# More than that, relative to the latent itself, is no rounding: gradients use other kernels than plain sampling does.
TOLERANCE = 0.02
DIFFERS = (
    "The latent is not what {sampler} makes of the returned noise by itself: they differ by {percent:.0f} % of the latent's size. The "
    "model keeps something between calls ({names}) that could not all be put back; leave out the node that patches it this way."
)
REFUSED = (
    "This model keeps something from one call to the next ({names}), and a reversible sampler makes its calls again in the reverse order. "
    "Use an ordinary sampler (euler, dpmpp_2m...), or leave out the node that patches the model this way."
)


class ModelState:
    """What ``model`` remembers, as it is now, at the beginning of a run.

    Args:
        model: the guider that a sampler calls.
        others: what else may remember something: the sampler, its arguments.
    """

    def __init__(self, model: Any, *others: Any) -> None:
        network = getattr(getattr(model, "inner_model", None), "diffusion_model", None)
        inside = vars(network) if network is not None else None
        self._roots = [(type(model).__name__, model), (type(network).__name__, inside), *((type(each).__name__, each) for each in others)]
        self._patcher = getattr(model, "model_patcher", None)
        self._as_inference = torch.is_inference_mode_enabled()
        self._names: set[str] = set()
        self._start = self._snapshot()

    @property
    def names(self) -> list[str]:
        """Who was seen to remember something, in the runs so far: names of classes and of nodes."""
        return sorted(self._names)

    @property
    def known(self) -> list[str]:
        """Who is known to remember something that later calls depend on, without a call."""
        found = {_known(thing) for thing in self._start.objects}
        return sorted(name for name in found if name is not None)

    @property
    def changes_weights(self) -> bool:
        """Whether weights are written to within a call, for one conditioning after another: backward needs what they were."""
        return any(isinstance(thing, comfy.hooks.WeightHook) for thing in self._start.objects)

    def check_reversible(self) -> None:
        """Raise ``ValueError``, before a call is made, for a model whose calls cannot be made in the reverse order."""
        if self.known:
            raise ValueError(REFUSED.format(names=", ".join(self.known)))

    def difference(self, latent: Tensor, alone: Tensor, sampler: str) -> str | None:
        """What to say about a ``latent (B, ...)`` that is to be what the sampler makes of its noise ``alone``; ``None`` if it is."""
        latent, alone = latent.float(), alone.float().to(latent.device)
        share = float((latent - alone).norm() / alone.norm().clamp_min(1e-12))
        return None if share <= TOLERANCE else DIFFERS.format(sampler=sampler, percent=100 * share, names=", ".join(self.names))

    def changed(self) -> list[str]:
        """Who remembers something else now, or is known to do so; nothing is put back."""
        return sorted({*self._start.changed(), *self.known})

    def restore(self) -> None:
        """Begin a run, or end the last one: as it was when this was made."""
        self._names.update(self._put_back(self._start))

    def note(self) -> Callable[[], contextlib.AbstractContextManager[None]]:
        """Before a model call: note what is remembered. What this returns makes a context in which the call may be made again.

        The context leaves behind what the call does.
        """
        snapshot = self._snapshot()

        @contextlib.contextmanager
        def again() -> Iterator[None]:
            self._put_back(snapshot)
            yield

        return again

    def _snapshot(self) -> Snapshot:
        return Snapshot(self._roots, _skipped, CACHES)

    def _put_back(self, snapshot: Snapshot) -> list[str]:
        hooks = [thing for thing in snapshot.objects if isinstance(thing, comfy.hooks.HookKeyframeGroup)]
        strengths = [group.strength for group in hooks]
        names = snapshot.restore()
        if self._patcher is not None and strengths != [group.strength for group in hooks]:
            # Core keeps the patched weights of the strength that it had.
            with torch.inference_mode(self._as_inference), torch.no_grad(), torch._C.DisableTorchFunction():
                self._patcher.clear_cached_hook_weights()
        return names


def _skipped(thing: Any) -> bool:
    return isinstance(thing, _SKIPPED) or type(thing).__module__.startswith(_OWN_BUSINESS)


def _known(thing: Any) -> str | None:
    if isinstance(thing, comfy.hooks.HookKeyframeGroup):
        return "hook keyframes" if len({each.strength for each in thing.keyframes}) > 1 else None
    if type(thing).__name__ in ("EasyCacheHolder", "LazyCacheHolder"):
        return type(thing).__name__.removesuffix("Holder")
    closure = getattr(thing, "__closure__", None)
    if closure:
        variables = dict(zip(thing.__code__.co_freevars, closure, strict=True))
        if "running_avg" in variables and "momentum" in variables and variables["momentum"].cell_contents != 0:
            return "APG's momentum"
    return None
