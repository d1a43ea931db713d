"""What an objective says about one image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

Evaluate = Callable[[Tensor, int, int, torch.Generator | None], tuple[Tensor, dict[str, Tensor]]]
"""``evaluate(latent, index, iteration, generator)``: the loss ``(1,)`` of one image and its named parts, see ``optimize``."""


@dataclass
class Score:
    """What the objective said about one image: its loss, named parts, and, if asked for, the gradient in its latent ``(1, ...)``."""

    loss: float = math.nan
    parts: dict[str, float] = field(default_factory=dict)
    gradient: Tensor | None = None

    @property
    def finite(self) -> bool:
        """Whether the loss, and the gradient if there is one, are finite."""
        return math.isfinite(self.loss) and (self.gradient is None or bool(torch.isfinite(self.gradient).all()))
