"""What predictors do to their maps."""

from __future__ import annotations

import torch
from torch import Tensor


def divide_by_maximum(maps: Tensor) -> Tensor:
    """Scale each (1, H, W) map, which must not be negative, so that its maximum is 1; a map of zeros becomes a map of ones.

    A constant map says that nothing stands out, which is also what zeros say; ones leave an image weighted by them as it is.
    """
    top = maps.amax(dim=(-3, -2, -1), keepdim=True)
    empty = top <= torch.finfo(maps.dtype).tiny
    return torch.where(empty, torch.ones_like(maps), maps / torch.where(empty, torch.ones_like(top), top))
