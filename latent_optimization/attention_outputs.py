"""Attention's outputs, kept of a model call that is otherwise computed again in backward: selective activation checkpointing.

Of all that a call computes, attention over many tokens takes the most time for what its output holds: four operations for each key and
element of it, beside which a linear layer's are few. So its outputs are kept and the rest is computed again; backward then runs each
attention once forward instead of twice (Korthikanti et al., arXiv 2205.05198, section 5, choose the other way round: for them, memory of
attention that is not fused is what is short).

Only torch's fused kernels are seen (``scaled_dot_product_attention``, what ComfyUI calls "pytorch attention"). Of others nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .nested import map_tensors

LEAST_KEYS = 1024
"""With fewer, an output's bytes buy less time than those of a whole call that is stored: SD 1.5's at 512 px are some 2000 operations a
byte, in half precision as many as attention over 1000 keys."""

ATTENTION = torch.nn.functional.scaled_dot_product_attention
_FUSED = "aten::_scaled_dot_product_"
DIFFERS = (
    "A model call did something else when backward ran it again (attention number {} was over {} and is now over {}). It depends on "
    "something that changed in between. Leave out the node that patches the model this way."
)


class AttentionOutputs:
    """The outputs of one model call's attention, in order: kept at the first time, given back each time that the call is made again.

    Args:
        keep: whether to; else they are only counted.
        least_keys: attention over fewer is computed again.

    Attributes:
        bytes: what they take, or would take.
    """

    def __init__(self, keep: bool = True, least_keys: int | None = None) -> None:
        self._keep, self._least_keys = keep, LEAST_KEYS if least_keys is None else least_keys
        self._kept: list[tuple[Any, Any]] = []
        self._next = 0
        self.bytes = 0

    def begin(self) -> AttentionOutputs | None:
        """The call is made now. ``None`` where there is nothing to do for it: it has been counted before."""
        self._next = 0
        return self if self._keep or not self.bytes else None

    def of(self, *args: Any, **kwargs: Any) -> Any:
        """``scaled_dot_product_attention(*args, **kwargs)``."""
        with _FusedKernels(self._answer):
            return ATTENTION(*args, **kwargs)

    def _answer(self, kernel: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        query, key = args[0], args[1]
        if key.shape[-2] < self._least_keys or _is_random(kernel, args, kwargs):
            return kernel(*args, **kwargs)
        over = (tuple(query.shape), tuple(key.shape), query.dtype)
        number, self._next = self._next, self._next + 1
        if number < len(self._kept):
            before, outputs = self._kept[number]
            if before != over:
                raise RuntimeError(DIFFERS.format(number, before, over))
            return map_tensors(outputs, Tensor.clone)  # the model may write to it
        outputs = kernel(*args, **kwargs)
        self._note(over, outputs)
        return outputs

    def _note(self, over: Any, outputs: Any) -> None:
        def count(tensor: Tensor) -> None:
            self.bytes += tensor.numel() * tensor.element_size()

        map_tensors(outputs, count)
        if self._keep:
            self._kept.append((over, map_tensors(outputs, Tensor.clone)))


def _is_random(kernel: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the kernel drops attention out, by random numbers that a recomputation would not draw."""
    names = [argument.name for argument in kernel._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    return bool(given.get("dropout_p", 0.0))


class _FusedKernels(TorchDispatchMode):
    """Hands torch's fused attention kernels to ``answer``, below autograd."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        super().__init__()
        self._answer = answer

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        return self._answer(func, args, kwargs) if func._schema.name.startswith(_FUSED) else func(*args, **kwargs)
