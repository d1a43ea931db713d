"""A sampler's calls of its model, each checkpointed, and the choice of which of them carry their Jacobian.

A sampler holds only latents, which are tiny; what costs memory is what happens inside a model call. So the calls are what is
recomputed in backward (one more forward per call, the exact gradient, any sampler), and at any moment at most one call's activations live.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .autograd_mode import GradientMode
from .blocks import blocks_of, checkpointed_blocks
from .kept_outputs import KeptOutputs
from .recomputation import recompute_in_backward
from .saved_tensors import learned_of, store_activations, with_views_that_can_be_written
from .stored_calls import KeptBytes, StoredCalls

__all__ = [
    "CHOICES", "CheckpointedCalls", "JacobianSchedule", "State", "blocks_of", "call_kind", "checkpointed_blocks", "differentiable_call"
]  # fmt: skip

CHOICES = ("all", "last", "every", "conditional")
# Called before a model call: notes what the model keeps between calls. What it returns makes a context in which that is as it was then.
State = Callable[[], Callable[[], contextlib.AbstractContextManager[Any]]]


@dataclass(frozen=True)
class JacobianSchedule:
    """Which of a sampler's model calls carry their Jacobian into the gradient.

    A call that does not is run without autograd and contributes a constant: only the sampler's own linear path leads past it. That is
    cheaper (one model forward instead of about three forwards' worth of work) and approximate.

    Args:
        choice: ``"all"``; ``"last"``: the last ``count`` calls of a run; ``"every"``: every ``count``-th call, counted back from the
            last, which is always among them; ``"conditional"``: all calls, but of a guided one the conditional part alone; the caller
            arranges that (``comfy_bridge/conditional_gradients.py``).
        count: at least 1, in model calls as the sampler makes them (a second-order sampler makes two a step). Only of ``"last"`` and
            ``"every"``.

    Raises:
        ValueError: for an unknown choice or a count below 1.
    """

    choice: str = "all"
    count: int = 1

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            raise ValueError(f"Unknown choice of model calls for the gradient: {self.choice!r}. Expected one of {', '.join(CHOICES)}.")
        if self.count < 1:
            raise ValueError(f"The number of model calls for the gradient must be at least 1, not {self.count}.")

    @property
    def carries_all(self) -> bool:
        """Whether every call does, however many there are."""
        return self.choice not in ("last", "every")

    def carries(self, index: int, total: int) -> bool:
        """Whether call number ``index`` (from 0) of ``total`` carries its Jacobian. Calls beyond ``total`` (an adaptive sampler) do."""
        from_the_end = total - 1 - index
        if self.carries_all or from_the_end < 0:
            return True
        return from_the_end < self.count if self.choice == "last" else from_the_end % self.count == 0


class CheckpointedCalls:
    """Stands in for a sampler's model: the same attributes, the same call, gradients as asked for.

    Args:
        model: called as ``model(x, *args, **kwargs)``, ``x`` of any shape; other attributes are handed through.
        schedule: which calls carry their Jacobian.
        total: how many calls the sampler is expected to make, 0 where that is not known; "last", "every" and ``stored`` need it.
        mode: the mode that the sampler's code runs under; suspended inside calls, which enter one of their own.
        before_call: run before each call, also before a recomputation in backward (to stop on cancel, to bring weights back).
        in_backward: run in backward as it comes to each call.
        use_checkpoint: keep no activations but recompute them; off, each call's activations live until backward.
        stored: which of the calls keep them all the same, or their dearest outputs; the first of a kind are measured for it.
        state: see :data:`State`; for models that keep something between calls, since a call may be made again.

    Whatever the model writes to in place, the gradient is right (see recomputation.py and saved_tensors.py). It gets copies of the tensors
    it is called with and the sampler a copy of what it returns: what either writes there later on does not reach the other.
    """

    def __init__(
        self,
        model: Any,
        schedule: JacobianSchedule,
        total: int,
        mode: GradientMode,
        *,
        before_call: Callable[[], None] | None = None,
        in_backward: Callable[[], None] | None = None,
        use_checkpoint: bool = True,
        stored: StoredCalls | None = None,
        state: State | None = None,
    ) -> None:
        self._model = model
        self._schedule = schedule
        self._total = total
        self._mode = mode
        self._before_call, self._in_backward = before_call or (lambda: None), in_backward
        self._use_checkpoint = use_checkpoint
        self._state, self._stored = state, stored
        self._measured = 0
        self._learned = learned_of(model)
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        index, self.calls = self.calls, self.calls + 1
        with self._mode.suspend():
            if not self._schedule.carries(index, self._total) or not x.requires_grad:
                return self._constant_call(x, args, kwargs)
            is_stored, outputs = self._kept(index, call_kind(x))
            return self._call_with_grad(x, args, kwargs, self._use_checkpoint and not is_stored, outputs)

    def _kept(self, index: int, kind: Hashable) -> tuple[bool, KeptOutputs | None]:
        """Whether the next call is stored, and what keeps or counts its dear outputs where it is not."""
        if self._stored is None:
            return False, None
        left = sum(self._schedule.carries(later, self._total) for later in range(index, self._total))
        self._stored.decide(self._learned.of_a_call(kind), left)
        least = self._stored.keeps_outputs(left)
        if least is not None:
            return self._stored.stores(left), KeptOutputs(least)
        return self._stored.stores(left), KeptOutputs() if self._measures(kind) else None

    def _measures(self, kind: Hashable) -> bool:
        """Whether what a call keeps is counted, of the first run's calls of a kind: they may differ (a ControlNet that ends)."""
        return self._stored is not None and (kind not in self._learned.kept_bytes or self._measured > 0)

    def _call_with_grad(
        self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], use_checkpoint: bool, outputs: KeptOutputs | None = None
    ) -> Tensor:
        """One call whose backward is right, whatever it writes to and however often it is made."""
        with torch.enable_grad():
            x = x.clone()
            args = tuple(_own_copy(value) for value in args)
            kwargs = {name: _own_copy(value) for name, value in kwargs.items()}
            repeatable = self._repeatable(outputs if use_checkpoint else None)

            def recorded() -> Tensor:
                call = repeatable(self._learned.single_views)
                if use_checkpoint:
                    return self._checkpointed(call, (x, args, kwargs), outputs)
                found = store_activations(lambda: call(x, args, kwargs), self._learned, call_kind(x))
                return found.clone()

            result: Tensor = with_views_that_can_be_written(recorded, self._learned)
        notify = self._in_backward
        if notify is not None and result.requires_grad:
            result.register_hook(lambda _: notify())
        return result

    def _checkpointed(
        self, call: Callable[..., Tensor], arguments: tuple[Tensor, tuple[Any, ...], dict[str, Any]], outputs: KeptOutputs | None
    ) -> Tensor:
        kind, learned = call_kind(arguments[0]), self._learned
        if not self._measures(kind):
            return recompute_in_backward(call, arguments, copy_arguments=True)
        kept = KeptBytes()
        result: Tensor = recompute_in_backward(call, arguments, copy_arguments=True, saved=kept.add)
        learned.kept_bytes[kind] = max(learned.kept_bytes.get(kind, 0), kept.total())
        for cost, size in ({} if outputs is None else outputs.sizes).items():
            known = learned.outputs.setdefault(kind, {})
            known[cost] = max(known.get(cost, 0), size)
        self._measured += 1
        return result

    def _repeatable(self, outputs: KeptOutputs | None) -> Callable[[bool], Callable[[Tensor, tuple[Any, ...], dict[str, Any]], Tensor]]:
        """The model call, by ``single_views``, as a function that does the same each time, from the state that the model is in now.

        Also what backward runs again, perhaps on another thread: it may not count on anything that surrounds it.
        """
        restored = self._state() if self._state is not None else contextlib.nullcontext
        made = [0]

        def call(single_views: bool, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
            self._before_call()
            made[0] += 1
            kept = None if outputs is None else outputs.begin()
            mode = GradientMode(copy_constants=self._mode.copy_constants, single_views=single_views, outputs=kept)
            with restored() if made[0] > 1 else contextlib.nullcontext(), torch.inference_mode(False), mode:
                return self._model(x.clone(), *args, **kwargs)  # a copy, for the model to write to

        return lambda single_views: partial(call, single_views)

    def carries(self, index: int) -> bool:
        """Whether the Jacobian of call number ``index`` (from 0) of this run is wanted."""
        return self._schedule.carries(index, self._total)

    def again(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """A call that a sampler with a backward of its own makes there: with its graph, neither counted nor checkpointed."""
        return self._call_with_grad(x, args, kwargs, use_checkpoint=False)

    def _constant_call(self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        self._before_call()
        with torch.no_grad():
            result = self._model(x.detach(), *args, **kwargs)
        return result.clone() if result.is_inference() else result


def differentiable_call(function: Callable[[Tensor], Tensor], x: Tensor, model: Any, *, keep_history: bool = False) -> Tensor:
    """``function(x)`` with its activations stored, under a :class:`GradientMode`; its gradient is right whatever it writes to.

    Args:
        function: has to do the same each time: it may be called again.
        x: of any shape; ``function`` gets a copy.
        model: what is remembered belongs to this (see :func:`~.saved_tensors.learned_of`).
        keep_history: see :class:`GradientMode`.
    """
    learned = learned_of(model)

    def recorded() -> Tensor:
        single_views = learned.single_views

        def call() -> Tensor:
            with torch.inference_mode(False), GradientMode(keep_history, single_views=single_views):
                return function(x.clone())

        return store_activations(call, learned, (x.shape, x.dtype)).clone()

    with torch.enable_grad():
        return with_views_that_can_be_written(recorded, learned)


def call_kind(x: Tensor) -> Hashable:
    """What tells calls with different activations apart; what is learned of a model goes by it."""
    return x.shape, x.dtype


def _own_copy(value: Any) -> Any:
    return value.clone() if type(value) is Tensor else value
