"""Adam on the noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...schema.ranged import Ranged, number
from ..per_image import spread
from .interface import Draw, State


@dataclass(frozen=True)
class AdamUpdate(Ranged):
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1), as DNO (arXiv 2405.18881) optimizes the noise.

    The step size is DNO's released one, the betas and epsilon are Adam's. ReNO (arXiv 2406.04312) takes an epsilon of 1e-2 where its
    gradients are small and noisy.

    Raises:
        ValueError: for a number outside its range.
    """

    # Not torch.optim.Adam: one image's step may have to be undone while the others' stand, and its state is not made to be split.
    step_size: float = number(0.01, above=0, help="Learning rate.")
    beta1: float = number(0.9, at_least=0, below=1, help="How much of the mean gradient is kept.")
    beta2: float = number(0.999, at_least=0, below=1, help="How much of the mean squared gradient is kept.")
    epsilon: float = number(1e-8, above=0, help="Added to the root of the mean squared gradient.")

    def start(self, noise: Tensor) -> State:
        """Moments of zero, no steps taken."""
        return {"mean": torch.zeros_like(noise), "square": torch.zeros_like(noise), "count": noise.new_zeros(len(noise))}

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        """Update both moments, correct their bias, step."""
        count = state["count"] + 1
        mean = self.beta1 * state["mean"] + (1 - self.beta1) * gradient
        square = self.beta2 * state["square"] + (1 - self.beta2) * gradient**2
        unbiased_mean = mean / spread(1 - self.beta1**count, mean)
        unbiased_square = square / spread(1 - self.beta2**count, square)
        return -self.step_size * unbiased_mean / (unbiased_square.sqrt() + self.epsilon), {"mean": mean, "square": square, "count": count}


NAME, REGISTERED = "Adam", AdamUpdate
