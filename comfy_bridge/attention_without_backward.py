"""Attention by kernels that have no backward (SageAttention, core's FlashAttention): their values, with the gradient of torch's attention.

Such a kernel computes what torch's does, in eight bits or so. So the model's values stay as they are without a gradient, and backward runs
torch's attention on the same queries, keys and values. That it is the same is not taken on trust: there, both values are compared.

Core's own hook is used for it, ``transformer_options["optimized_attention_override"]``, which is also where nodes bring in a kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.modules import attention as core
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ..latent_optimization.autograd_mode import GradientMode
from ..latent_optimization.kernels import NoBackwardError
from ..latent_optimization.recomputation import sample_of

HOOK = "optimized_attention_override"
TOLERANCE = 0.25
"""Relative: room for kernels that compute in eight or four bits, and none for what is another attention."""

_WITHOUT = frozenset({"attention_sage", "attention3_sage", "attention_flash"})
"""Core's, by name: they are not tried, since core catches what a kernel raises and says so in the log each time."""
_ANOTHER = (
    "The attention {name} has no backward, and it is not the attention that torch computes of the same queries, keys and values (they "
    "differ by {percent:.0f} %): there is no gradient through it. Leave out the node or start option that brings it in, or set iterations "
    "to 0."
)
_told: set[str] = set()


def add_to(model_options: dict[str, Any]) -> None:
    """Have calls with these options, which are written into, differentiate attention that has no backward of its own.

    Nothing is done where core's own attention has one and no node has brought in another.
    """
    options = model_options.get("transformer_options", {})
    override = options.get(HOOK)
    if override is None and core.optimized_attention.__name__ not in _WITHOUT:
        return
    model_options["transformer_options"] = {**options, HOOK: _differentiable(override)}


def _differentiable(override: Callable[..., Any] | None) -> Callable[..., Tensor]:
    has_backward = {} if override is not None else dict.fromkeys(_WITHOUT, False)

    def attend(function: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As core calls an override: ``function`` is the attention that it would have called, the rest that one's arguments."""

        def values(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return function(q, k, v, *args, **kwargs) if override is None else override(function, q, k, v, *args, **kwargs)

        name = _name_of(function if override is None else override)
        if not any(tensor.requires_grad for tensor in (q, k, v)):
            return values(q, k, v)
        if name not in has_backward:
            has_backward[name] = _has_history(values, q, k, v)
        if has_backward[name]:
            found = values(q, k, v)
            if found.requires_grad:  # not so where it takes its kernel for some shapes only
                return found
        _tell(name)
        q, k, v = (each.clone() if each.is_inference() else each for each in (q, k, v))  # autograd keeps no inference tensors

        def torchs(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return core.attention_pytorch(q, k, v, *args, **kwargs)

        return _TorchsGradient.apply(q, k, v, values, torchs, name)  # type: ignore[no-any-return, no-untyped-call]

    return attend


def _has_history(values: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Tried once, unseen by what records the call: computed again in backward, it has to do the same without trying."""
    mode = GradientMode.active() or GradientMode()
    try:
        with mode.suspend(), mode.again(), saved_tensors_hooks(lambda tensor: None, lambda nothing: nothing):
            return values(q, k, v).requires_grad
    except NoBackwardError:
        return False


def _tell(name: str) -> None:
    if name not in _told:
        _told.add(name)
        logging.info("SGOOL: the attention %s has no backward; gradients go through torch's attention instead.", name)


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__)).rpartition("<locals>.")[2]


class _TorchsGradient(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]  # noqa: PLR0917  (the sixth and more are no tensors)
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, values: Callable[..., Tensor], torchs: Callable[..., Tensor], name: str
    ) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.torchs, ctx.name = torchs, name
        with torch._C.DisableTorchFunction():  # the check of the gradient looks for what a model detaches: this is not the model's doing
            q, k, v = q.detach(), k.detach(), v.detach()
        found = values(q, k, v)
        ctx.sample = sample_of(found)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        with torch.inference_mode(False), torch.enable_grad(), GradientMode():
            leaves = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            found = ctx.torchs(*leaves)
        expected = sample_of(found)
        difference = float((ctx.sample - expected).norm() / expected.norm().clamp_min(1e-12))
        if not difference <= TOLERANCE:
            raise NoBackwardError(_ANOTHER.format(name=ctx.name, percent=100 * difference))
        return (*torch.autograd.grad(found, leaves, gradient), None, None, None)
