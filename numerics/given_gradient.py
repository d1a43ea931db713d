"""Losses whose gradient has been taken already."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def with_gradient(losses: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
    """``losses`` as they are, with ``gradient`` as their gradient in ``values``.

    Args:
        losses: ``(B,)``, without a graph; or ``(1,)``, where all of ``values`` has one loss.
        values: ``(B, ...)``, what the gradient is in.
        gradient: of each loss in its own values, of the shape of ``values``. It may hold numbers that are not finite; the losses are
            as they are all the same.
    """
    return _Given.apply(values, losses, gradient)


class _Given(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, losses: Tensor, gradient: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(gradient)
        return losses.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return incoming.reshape(-1, *[1] * (gradient.ndim - 1)).to(gradient) * gradient, None, None
