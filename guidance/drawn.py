"""What objectives measured, as images: of those that can draw it, alone or in a sum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .objective import Context, WeightedSum


def drawing(objective: Any, images: Tensor, context: Context) -> Tensor:
    """The drawings of an objective, or of a sum's terms side by side, for ``(B, 3, H, W)`` images; the images where there is none."""
    found = _drawings(objective, images, context)
    if not found:
        return images.clamp(0, 1)
    height = max(each.shape[-2] for each in found)
    return torch.cat([functional.pad(each, (0, 0, 0, height - each.shape[-2]), value=1.0) for each in found], dim=-1)


def _drawings(objective: Any, images: Tensor, context: Context) -> list[Tensor]:
    if isinstance(objective, WeightedSum):
        return [each for _, term in objective.terms for each in _drawings(term, images, context)]
    return [objective.draw(images, context)] if hasattr(objective, "draw") else []
