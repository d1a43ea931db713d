"""Gradients through code that was written never to have any.

ComfyUI runs its nodes inside ``torch.inference_mode()`` and decorates its samplers with ``@torch.no_grad()``. Both are facts about the
code *around* each tensor operation, not about the operations: a :class:`torch.overrides.TorchFunctionMode` sees every operation and can
run it with autograd on. Nothing is patched, so nothing has to be put back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Switches of autograd's own state are left alone: each operation turns gradients on for itself, so a sampler's `no_grad` may come and go.
_SWITCHES = frozenset({torch._C._set_grad_enabled, torch.set_grad_enabled})
# Turning into numbers, where autograd cannot follow: NumPy refuses a tensor with history, which the sampler's author never expected.
_TO_NUMBERS = frozenset({Tensor.numpy, Tensor.__array__, Tensor.item, Tensor.tolist, Tensor.__float__, Tensor.__int__, Tensor.__index__})


def alias(tensor: Tensor) -> Tensor:
    """Return an ordinary tensor on the same memory as ``tensor``, without history.

    An inference tensor cannot be saved for backward, but that is a mark on the tensor and not on its memory. Two tensors on the same
    memory do not share a version counter, so autograd would not notice a later write: use it only for what is not written to.
    Must be called outside ``torch.inference_mode()``.
    """
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(
        tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride()
    )


def _is_plain(tensor: Tensor) -> bool:
    """Whether ``tensor`` is strided memory and nothing else (quantized tensors are subclasses with their own insides)."""
    return type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided


def _writes_to_first_argument(name: str) -> bool:
    """Whether a torch function of this name changes its first argument in place (``add_``, ``__iadd__``, ``__setitem__``)."""
    if name.startswith("__"):
        return name == "__setitem__" or (name.startswith("__i") and name not in ("__invert__", "__index__", "__int__", "__init__"))
    return name.endswith("_") and not name.startswith("_")


class GradientMode(TorchFunctionMode):
    """Run every torch operation inside with autograd on, whatever ``no_grad`` or ``inference_mode`` surrounds it.

    - Weights (:class:`torch.nn.Parameter`) enter as constants: no gradient is computed for them, and those that are inference tensors
      are seen through an ordinary tensor on the same memory, so no copy of the model is made.
    - Other inference tensors (conditioning, buffers) enter as copies, which live as long as the graph needs them.
    - What becomes a number or a NumPy array is detached first.

    Args:
        keep_history: for a sampler's own code, off for model code. Hand ``x.detach()`` and ``x.data`` through unchanged: ``ipndm_v`` and
            ``deis`` detach the derivatives that they keep, and without it their gradient is wrong by a factor of about two. And copy
            constants that are views, such as one sigma of the schedule: ``uni_pc`` writes into its schedule later on.
        copy_constants: copy every constant that meets a tensor with history. For memory that its owner reuses before backward runs
            (ComfyUI's dynamic VRAM).

    It must be entered outside inference mode (``with torch.inference_mode(False), GradientMode():``) for results to be usable; inference
    mode entered inside is undone for each operation.
    """

    def __init__(self, keep_history: bool = False, copy_constants: bool = False) -> None:
        super().__init__()
        self.keep_history = keep_history
        self.copy_constants = copy_constants
        self._suspended = False

    @contextlib.contextmanager
    def suspend(self) -> Iterator[None]:
        """Let operations pass as they are: for callbacks, and for code that enters a mode of its own."""
        before, self._suspended = self._suspended, True
        try:
            yield
        finally:
            self._suspended = before

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._suspended or func in _SWITCHES:
            return func(*args, **kwargs)
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):
                return self._run(func, args, kwargs)
        return self._run(func, args, kwargs)

    def _run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = getattr(func, "__name__", "")
        before = torch.is_grad_enabled()
        torch._C._set_grad_enabled(True)
        try:
            if name == "__get__":
                return self._attribute(func, args, kwargs)
            if self.keep_history and name == "detach" and args and args[0].requires_grad:
                return args[0]
            if func in _TO_NUMBERS:
                return func(args[0].detach(), *args[1:], **kwargs)
            args, kwargs = self._prepared(name, args, kwargs)
            return func(*args, **kwargs)
        finally:
            torch._C._set_grad_enabled(before)

    def _attribute(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Attributes (``shape``, ``dtype``, ``T``...) need no preparation; ``data`` is a way of writing ``detach()``."""
        if self.keep_history and func == Tensor.data.__get__ and args[0].requires_grad:  # type: ignore[attr-defined]
            return args[0]
        return func(*args, **kwargs)

    def _prepared(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        copying = (self.copy_constants or self.keep_history) and _any_history((*args, *kwargs.values()))
        if args and isinstance(args[0], Tensor) and _writes_to_first_argument(name):
            first: Any = alias(args[0]) if args[0].is_inference() and _is_plain(args[0]) else args[0]
            args = (first, *(self._constant(a, copying) for a in args[1:]))
        else:
            args = tuple(self._constant(a, copying) for a in args)
        return args, {k: self._constant(v, copying) if k != "out" else v for k, v in kwargs.items()}

    def _constant(self, value: Any, copying: bool) -> Any:
        """Make a tensor, or the tensors in a list, tuple or dict, fit to be saved for backward."""
        if isinstance(value, Tensor):
            return self._constant_tensor(value, copying)
        if type(value) in (list, tuple):
            return type(value)(self._constant(v, copying) for v in value)
        if type(value) is dict:
            return {k: self._constant(v, copying) for k, v in value.items()}
        return value

    def _constant_tensor(self, value: Tensor, copying: bool) -> Tensor:
        if value.is_inference():
            aliased = isinstance(value, torch.nn.Parameter) and _is_plain(value) and not self.copy_constants
            return alias(value) if aliased else value.detach().clone()
        if copying and not value.requires_grad and (self.copy_constants or value._is_view()):
            return value.clone()
        return value.detach() if isinstance(value, torch.nn.Parameter) and value.requires_grad else value


def _any_history(values: Any) -> bool:
    for value in values:
        if isinstance(value, Tensor):
            if value.requires_grad and not isinstance(value, torch.nn.Parameter):
                return True
        elif isinstance(value, (list, tuple)) and _any_history(value):
            return True
    return False
