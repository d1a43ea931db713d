"""Gradients through code that was written never to have any.

ComfyUI runs its nodes inside ``torch.inference_mode()`` and decorates its samplers with ``@torch.no_grad()``. Both are facts about the
code *around* each tensor operation, not about the operations: a :class:`torch.overrides.TorchFunctionMode` sees every operation and can
run it with autograd on. Nothing is patched, so nothing has to be put back.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode, _get_current_function_mode, _pop_mode, _push_mode

from . import kernels
from .cast_weights import Cast, CastWeights
from .kept_outputs import DEAR, KeptOutputs

# Switches of autograd's own state are left alone: each operation turns gradients on for itself, so a sampler's `no_grad` may come and go.
# What only tells of a tensor is answered as it is: half of what a network asks, and each answer here costs time.
_SWITCHES: tuple[Any, ...] = (torch._C._set_grad_enabled, torch.set_grad_enabled)
_ASKED = ("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_cuda", "itemsize")
_QUESTIONS: tuple[Any, ...] = (Tensor.size, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.is_contiguous, Tensor.element_size)
_AS_THEY_ARE: frozenset[Any] = frozenset(
    {*_SWITCHES, *_QUESTIONS, Tensor.is_inference, torch.is_inference, Tensor.is_floating_point, torch.is_floating_point}
    | {getattr(Tensor, name).__get__ for name in _ASKED}
)
_DATA = Tensor.data.__get__  # type: ignore[attr-defined]
_SEVERAL_VIEWS = frozenset({"chunk", "split", "split_with_sizes", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "__iter__"})
_entered = threading.local()
# Turning into numbers, where autograd cannot follow: NumPy refuses a tensor with history, which the sampler's author never expected.
_TO_NUMBERS = frozenset({Tensor.numpy, Tensor.__array__, Tensor.item, Tensor.tolist, Tensor.__float__, Tensor.__int__, Tensor.__index__})


def _is_plain(tensor: Tensor) -> bool:
    """Whether ``tensor`` is strided memory and nothing else (quantized tensors are subclasses with their own insides)."""
    return type(tensor) in (Tensor, Parameter) and tensor.layout == torch.strided


def _is_weight(tensor: Tensor) -> bool:
    kind = type(tensor)
    return kind is Parameter or (kind is not Tensor and isinstance(tensor, Parameter))  # which, in torch, is Python and slow


@functools.cache
def _writes_to_first_argument(name: str) -> bool:
    """Whether a torch function of this name changes its first argument in place (``add_``, ``__iadd__``, ``__setitem__``)."""
    if name.startswith("__"):
        return name == "__setitem__" or (name.startswith("__i") and name not in ("__invert__", "__index__", "__int__", "__init__"))
    return name.endswith("_") and not name.startswith("_")


class GradientMode(TorchFunctionMode):
    """Run every torch operation inside with autograd on, whatever ``no_grad`` or ``inference_mode`` surrounds it.

    - Weights (:class:`torch.nn.Parameter`) enter as constants: no gradient is computed for them.
    - Inference tensors are seen through ordinary tensors on the same memory, one for all views of it: no copy of the model is made, and
      what is written into one view is seen in the others, with its history. Where they meet a tensor with history, those that are no
      weights (conditioning, buffers) enter as copies, which live as long as the graph needs them.
    - ``out=`` arguments, which autograd does not know, are written to after the operation.
    - What becomes a number or a NumPy array is detached first.
    - Operations of extensions that have no backward are answered by what :mod:`.kernels` has for them, or refused.

    Args:
        keep_history: for a sampler's own code, off for model code. Hand ``x.detach()`` and ``x.data`` through unchanged: ``ipndm_v`` and
            ``deis`` detach the derivatives that they keep, and without it their gradient is wrong by a factor of about two. And copy
            constants, inference tensors and those that are views, such as one sigma of the schedule: ``uni_pc`` writes into its schedule
            later on.
        copy_constants: copy every constant that meets a tensor with history. For memory that its owner reuses before backward runs
            (ComfyUI's dynamic VRAM).
        single_views: make the pieces of ``chunk``, ``split`` and ``unbind`` one by one. Autograd refuses to write into those made
            together; but their backward is slower, so it is for models that do write into them.
        outputs: what sees to the dear operations of a call whose outputs are kept. Modes made by :meth:`again` have none: they are for
            parts of a call, which are computed again in an order of their own.

    It must be entered outside inference mode (``with torch.inference_mode(False), GradientMode():``) for results to be usable; inference
    mode entered inside is undone for each operation.
    """

    def __init__(
        self,
        keep_history: bool = False,
        copy_constants: bool = False,
        single_views: bool = False,
        *,
        outputs: KeptOutputs | None = None,
    ) -> None:
        super().__init__()
        self._outputs = outputs
        self.keep_history = keep_history
        self.copy_constants = copy_constants
        self.single_views = single_views
        self._suspended = self._off_stack = False
        self._ordinary, self._casts = OrdinaryTensors(), CastWeights()

    def __enter__(self) -> GradientMode:
        _stack().append(self)
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        _stack().remove(self)
        super().__exit__(*exception)

    @staticmethod
    def active() -> GradientMode | None:
        """The innermost mode that this thread is in, if it is not suspended."""
        stack = _stack()
        return stack[-1] if stack and not stack[-1]._suspended else None

    @staticmethod
    def cast_of(tensor: Tensor) -> Cast | None:
        """What stands for ``tensor``, about to be saved, if it is a weight in another number format, made under the innermost mode."""
        mode = GradientMode.active()
        return None if mode is None else mode._casts.of(tensor)

    def again(self) -> GradientMode:
        """A new mode with the same settings."""
        return GradientMode(self.keep_history, self.copy_constants, self.single_views)

    def ordinary(self, tensor: Tensor) -> Tensor:
        """What the code inside sees in place of ``tensor``, an inference tensor: one on the same memory that has a version and history."""
        return self._ordinary.of(tensor) if _is_plain(tensor) else tensor

    def suspend(self) -> contextlib.AbstractContextManager[None]:
        """Let operations pass as they are: for callbacks, and for code that enters a mode of its own.

        Where no other mode was entered since, it leaves torch's stack meanwhile: on it, it would still be called for each operation.
        """
        return self._with_suspended(True)

    def resume(self) -> contextlib.AbstractContextManager[None]:
        """Within :meth:`suspend`, see to operations again."""
        return self._with_suspended(False)

    @contextlib.contextmanager
    def _with_suspended(self, suspended: bool) -> Iterator[None]:
        before, self._suspended = self._suspended, suspended
        pops = suspended and not self._off_stack and _get_current_function_mode() is self
        pushes = not suspended and self._off_stack
        self._move(pops, pushes)
        try:
            yield
        finally:
            self._move(pushes, pops)
            self._suspended = before

    def _move(self, pops: bool, pushes: bool) -> None:
        if pops:
            _pop_mode()
        elif pushes:
            _push_mode(self)
        if pops or pushes:
            self._off_stack = pops

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._suspended or func in _AS_THEY_ARE:
            return func(*args, **kwargs)
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):
                return self._run(func, args, kwargs)
        if torch.is_grad_enabled():
            return self._run(func, args, kwargs)
        with torch.enable_grad():
            return self._run(func, args, kwargs)

    def _run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = getattr(func, "__name__", "")
        result = self._answered(func, name, args, kwargs)
        if result is not NotImplemented:
            return result
        given, (args, kwargs) = args, self._prepared(name, args, kwargs)
        if "out" in kwargs:
            return self._written_to_out(func, args, kwargs)
        if self._outputs is not None and func in DEAR:
            return self._outputs.of(func, args, kwargs)
        if isinstance(func, kernels.OPERATORS):
            func = kernels.differentiable(func, _any_history((*args, *kwargs.values())))
        result = func(*args, **kwargs)
        if name == "to" and not self.copy_constants and _is_weight(given[0]) and _is_plain(given[0]):
            self._casts.note(args[0], result)
        return _one_by_one(args[0], result) if self.single_views and name in _SEVERAL_VIEWS else result

    def _answered(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What is answered as it is called, without preparing what it is given; else ``NotImplemented``."""
        if name == "__get__":
            return self._attribute(func, args, kwargs)
        if self.keep_history and name == "detach" and args and args[0].requires_grad:
            return args[0]
        if func in _TO_NUMBERS:
            return func(args[0].detach(), *args[1:], **kwargs)
        return kernels.answered(func, args, kwargs)

    def _attribute(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Attributes (``shape``, ``dtype``, ``T``...) need no preparation; ``data`` is a way of writing ``detach()``.

        Unlike ``data``, ``detach()`` shares the version counter: what is written through it is noticed.
        """
        if func == _DATA and type(args[0]) is Tensor and args[0].requires_grad:
            return args[0] if self.keep_history else args[0].detach()
        return func(*args, **kwargs)

    def _written_to_out(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = kwargs.pop("out")
        result = func(*args, **kwargs)
        if out is None:
            return result
        for target, value in zip(out, result, strict=True) if isinstance(out, (list, tuple)) else [(out, result)]:
            ordinary = self._ordinary.of(target) if target.is_inference() and _is_plain(target) else target
            if ordinary.shape != value.shape:
                ordinary.resize_(value.shape)
            _up_to_date(ordinary).copy_(value)
        return out

    def _prepared(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        copying = _any_history(args) or _any_history(kwargs.values())
        if args and isinstance(args[0], Tensor) and (_writes_to_first_argument(name) or kwargs.get("inplace")):
            first: Any = self._ordinary.of(args[0]) if args[0].is_inference() and _is_plain(args[0]) else args[0]
            args = (_up_to_date(first), *[self._constant(a, copying) for a in args[1:]])
        else:
            args = tuple([self._constant(a, copying) for a in args])
        return args, {k: self._constant(v, copying) if k != "out" else v for k, v in kwargs.items()} if kwargs else kwargs

    def _constant(self, value: Any, copying: bool) -> Any:
        """Make a tensor, or the tensors in a list, tuple or dict, fit to be saved for backward."""
        if isinstance(value, Tensor):
            return self._constant_tensor(value, copying)
        kind = type(value)
        if kind is list or kind is tuple:
            return kind([self._constant(v, copying) for v in value])
        if kind is dict:
            return {k: self._constant(v, copying) for k, v in value.items()}
        return value

    def _constant_tensor(self, value: Tensor, copying: bool) -> Tensor:
        if value.is_inference():
            if not _is_plain(value):
                return value.detach().clone()
            ordinary = self._ordinary.of(value)
            if not copying or ordinary.requires_grad or (not self.copy_constants and _is_weight(value)):
                return ordinary
            return ordinary.clone()  # its owner may write to it before backward, and no version counter would tell
        if value.requires_grad:
            return value.detach() if _is_weight(value) else value
        return value.clone() if copying and (self.copy_constants or (self.keep_history and value._is_view())) else value


class OrdinaryTensors:
    """Ordinary tensors in place of inference tensors, on the same memory. Those on one memory are views of one tensor."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        self._memories: dict[tuple[int, torch.dtype], Tensor] = {}

    def of(self, tensor: Tensor) -> Tensor:
        """An ordinary tensor with the shape, strides and memory of ``tensor``, the same one each time."""
        known = self._known.get(id(tensor))
        if known is None:
            ordinary = self._alone(tensor) if type(tensor) is Parameter else self._view(tensor)
            known = self._known[id(tensor)] = (tensor, ordinary)  # with the original, so that its id is not given to another
        return known[1]

    @staticmethod
    def _alone(weight: Tensor) -> Tensor:
        """Without a tensor that it is a view of: what has no history needs none, and a network has many weights."""
        own = torch.empty(0, dtype=weight.dtype, device=weight.device)
        return own.set_(weight.untyped_storage(), weight.storage_offset(), weight.size(), weight.stride())

    def _view(self, tensor: Tensor) -> Tensor:
        return self._memory(tensor).as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())

    def _memory(self, tensor: Tensor) -> Tensor:
        key = _memory_of(tensor)
        if key not in self._memories:
            storage = tensor.untyped_storage()
            whole = (storage.nbytes() // tensor.element_size(),)
            self._memories[key] = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage, 0, whole, (1,))
        return self._memories[key]


def _up_to_date(tensor: Tensor) -> Tensor:
    """``tensor``, which is about to be written to. Torch takes a view for a leaf whose base has just got history, until it is asked."""
    if tensor._is_view():
        tensor.grad_fn  # noqa: B018
    return tensor


def _memory_of(tensor: Tensor) -> tuple[int, torch.dtype]:
    return tensor.untyped_storage().data_ptr(), tensor.dtype


def _one_by_one(source: Any, result: Any) -> Any:
    """The tensors of ``result``, which are views of ``source``, each as a view of its own."""
    pieces = result if isinstance(result, (tuple, list)) else list(result)
    if isinstance(source, Tensor):
        pieces = [
            source.as_strided(p.size(), p.stride(), p.storage_offset()) if p.untyped_storage().data_ptr() == _memory_of(source)[0] else p
            for p in pieces
        ]
    return type(result)(pieces) if isinstance(result, (tuple, list)) else iter(pieces)


def _stack() -> list[GradientMode]:
    if not hasattr(_entered, "modes"):
        _entered.modes = []
    modes: list[GradientMode] = _entered.modes
    return modes


def _any_history(values: Any) -> bool:
    for value in values:
        if isinstance(value, Tensor):
            if value.requires_grad and not _is_weight(value):
                return True
        elif isinstance(value, (list, tuple)) and _any_history(value):
            return True
    return False


@contextlib.contextmanager
def gradients(**options: Any) -> Iterator[GradientMode]:
    """A :class:`GradientMode` outside of whatever inference mode the caller is in, so that what comes out can be differentiated."""
    with torch.inference_mode(False), GradientMode(**options) as mode:
        yield mode
