"""Operations of extensions that have no backward: differentiable equivalents, or a sentence.

An operation that an extension registers with torch (``torch.ops.<extension>.<name>``) has a backward only where its author wrote one.
Without, torch refuses late and in words of its own, or computes a result without history, which is a wrong gradient and no message.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

OPERATORS = (OpOverload, OpOverloadPacket)
_OWN = frozenset({"aten", "prim", "prims", "_c10d_functional", "quantized", "torchvision"})
_equivalents: dict[str, Callable[..., Any]] = {}


_answers: dict[Any, Callable[..., Any]] = {}


class NoBackwardError(RuntimeError):
    """A kernel on the way from the noise to the image has no backward."""


def register_equivalent(name: str, function: Callable[..., Any]) -> None:
    """Let ``function``, of ordinary operations, answer the operation ``name`` ("extension::operation") where gradients are wanted."""
    _equivalents[name] = function


def register_answer(function: Callable[..., Any], answer: Callable[..., Any]) -> None:
    """Ask ``answer(*args, **kwargs)`` before the torch function ``function`` is called; ``NotImplemented`` leaves it to that.

    For weights of tensor subclasses, which only the one who knows them can differentiate past.
    """
    _answers[function] = answer


def answered(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an answer registered for ``function`` returns, else ``NotImplemented``."""
    answer = _answers.get(function)
    return NotImplemented if answer is None else answer(*args, **kwargs)


def differentiable(operator: Any, with_history: bool) -> Callable[..., Any]:
    """What to call for ``operator`` when its arguments have history or not.

    Raises:
        NoBackwardError: if they have and it has no backward and no equivalent is known.
    """
    name = operator._qualified_op_name if isinstance(operator, OpOverloadPacket) else operator._schema.name
    if not with_history or name.partition("::")[0] in _OWN:
        return operator
    if name in _equivalents:
        return _equivalents[name]
    if not _has_backward(name):
        raise NoBackwardError(
            f"The model uses the kernel {name.replace('::', '.')}, which has no backward: there is no gradient through it. Choose another "
            "attention or quantization in the node or start option that brings it in, or set iterations to 0."
        )
    return operator


@functools.cache
def _has_backward(name: str) -> bool:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return any(has(name, key) for key in ("CompositeImplicitAutograd", "Autograd", "AutogradCPU", "AutogradCUDA")) and not _raises(name)


def _raises(name: str) -> bool:
    """Whether ``torch.library.custom_op`` made the operation and nobody gave it a backward: its autograd kernel then only raises."""
    from torch._library.custom_ops import OPDEFS

    definition = OPDEFS.get(name)
    return definition is not None and definition._backward_fn is None
