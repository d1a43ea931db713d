"""Loss scaling: gradients are carried through half precision at a size that it can hold (arXiv 1710.03740, section 3.2).

float16 holds nothing below 6e-8 and rounds coarsely below 6e-5, and the gradient of a mean over the pixels of an image is smaller than
that. Backward is linear in the gradient that it starts from, so that one is multiplied by a power of two, which rounds nothing, and the
result divided by it in float32. Each image of a batch has a scale of its own: what one is multiplied by changes nothing for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

TARGET = 6
"""The largest element of a scaled gradient is in [2^TARGET, 2^(TARGET + 1)): nine powers of two below what float16 overflows at."""

BACK_OFF = 8
"""Where that overflowed after all, the next attempt is 2^BACK_OFF times smaller."""

ATTEMPTS = 3


def vector_jacobian(output: Tensor, leaf: Tensor, gradient: Tensor) -> Tensor | None:
    """``gradient`` in ``output`` taken back to ``leaf``, as ``torch.autograd.grad`` does, with loss scaling.

    An image whose result is not finite although its gradient is gets further attempts at smaller scales; after ``ATTEMPTS`` the result
    stays as it is. The graph is kept: it is freed with ``output``.

    Args:
        output: ``(B, ...)``, with a graph that leads to ``leaf``.
        leaf: ``(B, ...)`` or, where images are not independent, of another batch size: then there is one scale for all.
        gradient: of ``output``'s shape.

    Returns:
        ``leaf``'s shape, float32 at least; ``None`` where ``output`` does not depend on ``leaf``.
    """
    together = output.ndim == 0 or leaf.ndim == 0 or len(output) != len(leaf)
    wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    exponents = _exponents(wide, together)
    found: Tensor | None = None
    for _ in range(ATTEMPTS):
        scaled = torch.ldexp(wide, _beside(exponents, wide)).to(output.dtype)
        pulled: Tensor | None = torch.autograd.grad(output, leaf, scaled, retain_graph=True, allow_unused=True)[0]
        if pulled is None:
            return None
        pulled = pulled.to(torch.promote_types(pulled.dtype, torch.float32))
        pulled = torch.ldexp(pulled, -_beside(exponents, pulled))
        wanting = None if found is None else _beside(~_finite(found, together), found)
        found = pulled if found is None or wanting is None else torch.where(wanting, pulled, found)
        overflowed = _finite(wide, together) & ~_finite(found, together)
        if not bool(overflowed.any()):
            break
        exponents = torch.where(overflowed, exponents - BACK_OFF, exponents)
    return found


def scaled(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """``function(values)``, with loss scaling in its backward: for a function that computes in half precision and returns float32.

    Args:
        function: differentiable; of nothing but ``values`` is a gradient wanted.
        values: see ``leaf`` in :func:`vector_jacobian`.
    """
    if not (values.requires_grad and torch.is_grad_enabled()):
        return function(values)
    return _Scaled.apply(values, function)


class _Scaled(torch.autograd.Function):
    """:func:`scaled`. The function's graph is its own, since how far backward has to be taken anew is not known before."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:  # type: ignore[override]
        with torch.enable_grad():
            ctx.leaf = values.detach().requires_grad_()
            ctx.output = function(ctx.leaf)
        return ctx.output.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:  # type: ignore[override]
        found = vector_jacobian(ctx.output, ctx.leaf, gradient) if ctx.output.requires_grad else None
        return None if found is None else found.to(ctx.leaf.dtype), None


def _exponents(gradient: Tensor, together: bool) -> Tensor:
    """``(B,)`` or ``()`` integers that bring the largest elements to the target; 0 where there is none, or one that is not finite."""
    sizes = gradient.abs()
    largest = sizes.amax() if together else sizes.reshape(len(sizes), -1).amax(dim=1)
    _, exponents = torch.frexp(largest)  # largest = mantissa * 2^exponent, the mantissa in [0.5, 1)
    return torch.where(torch.isfinite(largest) & (largest > 0), TARGET + 1 - exponents, 0)


def _finite(values: Tensor, together: bool) -> Tensor:
    finite = torch.isfinite(values)
    return finite.all() if together else finite.reshape(len(values), -1).all(dim=1)


def _beside(per_image: Tensor, values: Tensor) -> Tensor:
    """One number an image, in a shape that broadcasts against ``values``."""
    return per_image.reshape(-1, *[1] * (values.ndim - 1)) if per_image.ndim else per_image
