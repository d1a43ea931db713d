"""Values whose gradient has been taken already."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def with_gradient(losses: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
    """``losses`` as they are, with ``gradient`` of their sum as their gradient in ``values``.

    Args:
        losses: ``(1,)``, without a graph.
        values: what the gradient is in, of any shape.
        gradient: of the shape of ``values``; numbers that are not finite reach it as they are, and leave the losses alone.
    """
    return _Given.apply(values, losses, gradient)  # type: ignore[no-any-return, no-untyped-call]


class _Given(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, losses: Tensor, gradient: Tensor) -> Tensor:  # type: ignore[override]
        ctx.gradient = gradient
        return losses.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return ctx.gradient * upstream.sum().to(ctx.gradient), None, None
