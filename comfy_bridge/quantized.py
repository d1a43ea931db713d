"""Gradients through quantized linear layers: the quantized product forward, the dequantized weight backward.

ComfyUI's own autograd Function for them saves the weight, which it cannot where that is an inference tensor, as loaded weights are. This
one holds it: weights are constants here. Rounding of the input to the quantized format is passed straight through, as in ComfyUI's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import comfy.ops
import torch
from torch import Tensor

from ..latent_optimization.autograd_mode import GradientMode
from ..latent_optimization.kernels import register_answer

_NAME = "QuantLinearFunc"


class _QuantizedLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917  (core's signature)
        ctx: Any,
        values: Tensor,
        weight: Any,
        bias: Tensor | None,
        layout: str | None,
        input_scale: Tensor | None,
        compute_dtype: torch.dtype,
    ) -> Tensor:
        mode = GradientMode.active()
        ctx.weight = weight.clone() if mode is not None and mode.copy_constants else weight
        ctx.compute_dtype = compute_dtype
        rows = values.detach().flatten(0, -2)
        quantized = rows if layout is None else comfy.ops.QuantizedTensor.from_float(rows, layout, scale=input_scale)
        result: Tensor = torch.nn.functional.linear(quantized, weight.detach(), None if bias is None else bias.detach())
        return result.unflatten(0, values.shape[:-1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:  # type: ignore[override]
        weight = ctx.weight.dequantize() if isinstance(ctx.weight, comfy.ops.QuantizedTensor) else ctx.weight
        rows = gradient.flatten(0, -2).to(ctx.compute_dtype)
        return (rows @ weight.to(ctx.compute_dtype)).unflatten(0, gradient.shape[:-1]), None, None, None, None, None


def _linear(values: Any, weight: Any = None, bias: Any = None) -> Any:
    """Answers ``torch.nn.functional.linear`` for weights that are quantized and values that are not (int8, ConvRot's int4)."""
    quantized = comfy.ops.QuantizedTensor
    if not isinstance(weight, quantized) or isinstance(values, quantized) or not values.requires_grad:
        return NotImplemented
    return _QuantizedLinear.apply(values, weight, bias, None, None, values.dtype)


if hasattr(comfy.ops, "QuantizedTensor"):
    register_answer(torch.nn.functional.linear, _linear)


@contextlib.contextmanager
def differentiable_layers() -> Iterator[None]:
    """Within the context, ComfyUI's quantized layers are differentiable in their input, also with weights that are inference tensors."""
    before = getattr(comfy.ops, _NAME, None)
    if before is None:  # an older ComfyUI
        yield
        return
    try:
        setattr(comfy.ops, _NAME, _QuantizedLinear)
        yield
    finally:
        setattr(comfy.ops, _NAME, before)
