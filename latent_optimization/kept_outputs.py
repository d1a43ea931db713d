"""Outputs kept of a model call that is otherwise computed again in backward: selective activation checkpointing.

Of what a call computes, some takes much more time than other for what its output holds: convolutions and linear layers of many channels,
attention over many tokens. Such outputs are kept and the rest is computed again; backward then runs each of these operations once forward
instead of twice. (Korthikanti et al., arXiv 2205.05198, section 5, chose what to compute again by the same measure, operations a byte. It
is how ``torch.utils.checkpoint.create_selective_checkpoint_contexts`` works, which knows nothing of inference tensors and in-place writes.)

Of attention only torch's fused kernels are seen (``scaled_dot_product_attention``, what ComfyUI calls "pytorch attention").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode

from .nested import map_tensors

ATTENTION = torch.nn.functional.scaled_dot_product_attention
_CONVOLUTIONS = frozenset({torch.conv1d, torch.conv2d, torch.conv3d})
_PRODUCTS = frozenset({torch.nn.functional.linear, *_CONVOLUTIONS})
DEAR: frozenset[Any] = frozenset({ATTENTION, *_PRODUCTS})
"""The functions whose outputs may be kept, as a mode sees them."""

_FUSED = "aten::_scaled_dot_product_"
_KERNELS = frozenset({"aten::convolution", "aten::addmm", "aten::mm", "aten::bmm", "aten::linear"})
DIFFERS = (
    "A model call did something else when backward ran it again (operation number {} was {} and is now {}). It depends on something that "
    "changed in between. Leave out the node that patches the model this way."
)


class KeptOutputs:
    """The outputs of one model call's dear operations, in order: kept at the first time, given back each time that it is made again.

    Args:
        least: multiplications for each byte of an output, from which on it is kept. ``None``: nothing is, but all are counted.

    Attributes:
        sizes: multiplications for each byte -> bytes, of what is kept or counted.
    """

    def __init__(self, least: float | None = None) -> None:
        self._least = least
        self._kept: list[tuple[Any, Any]] = []
        self._next = 0
        self.sizes: dict[float, int] = {}

    def begin(self) -> KeptOutputs | None:
        """The call is made now. ``None`` where there is nothing to do for it: it has been counted before."""
        self._next = 0
        return self if self._least is not None or not self.sizes else None

    def of(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``function(*args, **kwargs)``, one of ``DEAR``."""
        cost = multiplications_a_byte(function, args, kwargs)
        if cost is None or (self._least is not None and cost < self._least):
            return function(*args, **kwargs)

        def answer(kernel: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
            return kernel(*given, **named) if _is_random(kernel, given, named) else self._answer(cost, kernel, given, named)

        with _Kernels(answer, fused=function is ATTENTION):
            return function(*args, **kwargs)

    def _answer(self, cost: float, kernel: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        of = (str(kernel), *((tuple(each.shape), each.dtype) for each in args if isinstance(each, Tensor)))
        number, self._next = self._next, self._next + 1
        if number < len(self._kept):
            before, outputs = self._kept[number]
            if before != of:
                raise RuntimeError(DIFFERS.format(number, before, of))
            return map_tensors(outputs, Tensor.clone)  # the model may write to it
        outputs = kernel(*args, **kwargs)
        map_tensors(outputs, lambda tensor: self._count(cost, tensor))
        if self._least is not None:
            self._kept.append((of, map_tensors(outputs, Tensor.clone)))
        return outputs

    def _count(self, cost: float, tensor: Tensor) -> None:
        self.sizes[cost] = self.sizes.get(cost, 0) + tensor.numel() * tensor.element_size()


def multiplications_a_byte(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """Of one of ``DEAR``, for each byte of its output; ``None`` for weights that are no plain tensors, whose kernels are others."""
    second = args[1] if len(args) > 1 else kwargs["key" if function is ATTENTION else "weight"]
    if not isinstance(second, Tensor) or type(second) not in (Tensor, Parameter):
        return None
    if function is ATTENTION:
        return 2 * second.shape[-2] / second.element_size()  # one product with the keys and one with the values
    return second.numel() / (len(second) if second.ndim > 1 else 1) / second.element_size()


def worth_keeping(sizes: Mapping[float, int], bytes_of_a_call: int) -> list[tuple[float, int]]:
    """Of outputs by what they cost a byte, those whose bytes save more than the same bytes of a whole call that is stored.

    The dearest first, as (multiplications a byte, bytes of all that cost at least as much); in all at most half of what a call keeps.
    """
    average = sum(cost * size for cost, size in sizes.items()) / max(1, bytes_of_a_call)
    found, total = [], 0
    for cost in sorted((cost for cost in sizes if cost >= average), reverse=True):
        total += sizes[cost]
        if 2 * total < bytes_of_a_call:
            found.append((cost, total))
    return found


def _is_random(kernel: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the kernel drops attention out, by random numbers that a recomputation would not draw."""
    names = [argument.name for argument in kernel._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    return bool(given.get("dropout_p", 0.0))


class _Kernels(TorchDispatchMode):
    """Hands kernels to ``answer``, below autograd: torch's fused attention, or those of products."""

    def __init__(self, answer: Callable[..., Any], *, fused: bool) -> None:
        super().__init__()
        self._answer, self._fused = answer, fused

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name
        dear = name.startswith(_FUSED) if self._fused else name in _KERNELS
        return self._answer(func, args, kwargs) if dear else func(*args, **kwargs)
