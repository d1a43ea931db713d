"""Checking gradients of networks too large for ``gradcheck``: along one random direction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def along_a_direction(function: Callable[[Tensor], Tensor], at: Tensor, step: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Compare a gradient with central differences.

    Args:
        function: anything differentiable; its output is summed with random weights.
        at: float64 point, any shape.
        step: half the distance between the two evaluations. Networks with many ReLUs need a small one.
        seed: of the weights and the direction.

    Returns:
        gradient at the point, its product with a random direction, and the same by central differences.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(at.shape, dtype=at.dtype, generator=generator)
    leaf = at.detach().clone().requires_grad_()
    output = function(leaf)
    weights = torch.randn(output.shape, dtype=at.dtype, generator=generator)
    (gradient,) = torch.autograd.grad((output * weights).sum(), leaf)
    with torch.no_grad():
        change = ((function(at + step * direction) - function(at - step * direction)) * weights).sum() / (2 * step)
    return gradient, (gradient * direction).sum(), change
