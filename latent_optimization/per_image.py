"""Arithmetic on a batch whose images must not see each other: one number per image, spread over its elements."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def norms(x: Tensor) -> Tensor:
    """Euclidean norm of each image of ``x (B, ...)``, as ``(B,)``."""
    lengths: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return lengths


def spread(values: Tensor | Sequence[float] | Sequence[bool], like: Tensor) -> Tensor:
    """One value per image, ``(B,)``, shaped and placed so that it broadcasts against ``like (B, ...)``. Booleans stay booleans."""
    tensor = torch.as_tensor(values)
    dtype = torch.bool if tensor.dtype == torch.bool else like.dtype
    return tensor.to(device=like.device, dtype=dtype).reshape(-1, *[1] * (like.ndim - 1))


def unit_rms(x: Tensor) -> Tensor:
    """Each image of ``x (B, ...)`` scaled to a root mean square of 1; an image of zeros stays zeros."""
    # Divided by the largest magnitude first: gradients can be so small that their squares underflow in float32.
    largest = x.flatten(1).abs().amax(dim=1)
    x = x / spread(torch.where(largest > 0, largest, 1.0), x)
    rms = norms(x) / x[0].numel() ** 0.5
    return x / spread(torch.where(rms > 0, rms, 1.0), x)


def finite(x: Tensor) -> list[bool]:
    """Which images of ``x (B, ...)`` have nothing but finite elements."""
    return [bool(ok) for ok in torch.isfinite(x).flatten(1).all(dim=1).tolist()]
