"""A sampler's calls of its model, each checkpointed, and the choice of which of them carry their Jacobian.

A sampler holds only latents, which are tiny; what costs memory is what happens inside a model call. So the calls are what is
recomputed in backward (one more forward per call, the exact gradient, any sampler), and at any moment at most one call's activations live.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .autograd_mode import GradientMode

CHOICES = ("all", "last", "every")


@dataclass(frozen=True)
class JacobianSchedule:
    """Which of a sampler's model calls carry their Jacobian into the gradient.

    A call that does not is run without autograd and contributes a constant: only the sampler's own linear path leads past it. That is
    cheaper (one model forward instead of about three forwards' worth of work) and approximate.

    Args:
        choice: ``"all"``; ``"last"``: the last ``count`` calls of a run; ``"every"``: every ``count``-th call, counted back from the
            last, which is always among them.
        count: at least 1, in model calls as the sampler makes them (a second-order sampler makes two a step). Unused by ``"all"``.

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

    def carries(self, index: int, total: int) -> bool:
        """Whether call number ``index`` (from 0) of ``total`` carries its Jacobian. Calls beyond ``total`` (an adaptive sampler) do."""
        from_the_end = total - 1 - index
        if self.choice == "all" or from_the_end < 0:
            return True
        return from_the_end < self.count if self.choice == "last" else from_the_end % self.count == 0


class CheckpointedCalls:
    """Stands in for a sampler's model: the same attributes, the same call, gradients as asked for.

    Args:
        model: called as ``model(x, *args, **kwargs)``, ``x`` of any shape; other attributes are handed through.
        schedule: which calls carry their Jacobian.
        total: how many calls the sampler is expected to make; only "last" and "every" need it.
        mode: the mode that the sampler's code runs under; suspended inside calls, which enter one of their own.
        before_call: run before each call, also before a recomputation in backward (to stop on cancel, to bring weights back).
        use_checkpoint: keep no activations but recompute them; off, each call's activations live until backward.
    """

    def __init__(
        self,
        model: Any,
        schedule: JacobianSchedule,
        total: int,
        mode: GradientMode,
        *,
        before_call: Callable[[], None] | None = None,
        use_checkpoint: bool = True,
    ) -> None:
        self._model = model
        self._schedule = schedule
        self._total = total
        self._mode = mode
        self._before_call = before_call or (lambda: None)
        self._use_checkpoint = use_checkpoint
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        index, self.calls = self.calls, self.calls + 1
        with self._mode.suspend():
            if not self._schedule.carries(index, self._total) or not x.requires_grad:
                return self._constant_call(x, args, kwargs)
            with torch.enable_grad():
                if not self._use_checkpoint:
                    return self._call(x, args, kwargs)
                return checkpoint(self._call, x, args, kwargs, use_reentrant=False)

    def _call(self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        # Also the function that backward runs again, perhaps on another thread: it may not count on anything that surrounds it.
        self._before_call()
        with torch.inference_mode(False), GradientMode(copy_constants=self._mode.copy_constants):
            return self._model(x, *args, **kwargs)

    def carries(self, index: int) -> bool:
        """Whether the Jacobian of call number ``index`` (from 0) of this run is wanted."""
        return self._schedule.carries(index, self._total)

    def again(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """A call that a sampler with a backward of its own makes there: with its graph, neither counted nor checkpointed."""
        return self._call(x, args, kwargs)

    def _constant_call(self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        self._before_call()
        with torch.no_grad():
            result = self._model(x.detach(), *args, **kwargs)
        return result.clone() if result.is_inference() else result


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The outermost blocks of a network: modules with a forward of their own, below the lists and holders that have none.

    The network itself is not one of them. Blocks of a single layer are left out, since they hold hardly more than their input.
    """
    found: list[nn.Module] = []
    for child in module.children():
        holder = isinstance(child, (nn.ModuleList, nn.ModuleDict, nn.Sequential)) or type(child).forward is nn.Module.forward
        if holder:
            found.extend(blocks_of(child))
        elif sum(1 for _ in child.modules()) > 2:
            found.append(child)
    return found


@contextlib.contextmanager
def checkpointed_blocks(module: nn.Module) -> Iterator[int]:
    """Within the context, checkpoint each block of ``module``, as well as whatever is checkpointed around it; yields their number.

    The finer half of two-level checkpointing: of a model call that is being recomputed, only one block's activations live at a time.
    Each block's ``forward`` is replaced on the instance, and given back when the context ends, however it ends.
    """
    replaced: list[tuple[nn.Module, Any]] = []
    missing = object()

    def wrapped(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled() and not _under_gradient_mode(args):
                return forward(*args, **kwargs)
            with torch.enable_grad():
                return checkpoint(_in_mode(forward), *args, use_reentrant=False, **kwargs)

        return run

    try:
        for block in blocks_of(module):
            replaced.append((block, block.__dict__.get("forward", missing)))
            block.__dict__["forward"] = wrapped(block.forward)
        yield len(replaced)
    finally:
        for block, before in reversed(replaced):
            if before is missing:
                del block.__dict__["forward"]
            else:
                block.__dict__["forward"] = before


def _under_gradient_mode(args: tuple[Any, ...]) -> bool:
    return any(isinstance(a, Tensor) and a.requires_grad for a in args)


def _in_mode(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(False), GradientMode():
            return forward(*args, **kwargs)

    return run
