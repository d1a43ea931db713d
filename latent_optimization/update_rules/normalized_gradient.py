"""Steps of one length, whatever the scale of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...schema.ranged import Ranged, number
from ..per_image import unit_rms
from .interface import Draw, State


@dataclass(frozen=True)
class NormalizedGradient(Ranged):
    """Each step moves the noise by ``step_size`` of its standard deviation, as a root mean square over the elements of one image.

    u = gradient / rms(gradient); m = momentum * m + u; noise -= step_size * m / rms(m), every rms over one image's elements. This
    project's own choice: gradients of different rewards differ by orders of magnitude; a length in units of the noise carries over.

    Raises:
        ValueError: for a number outside its range.
    """

    step_size: float = number(0.03, above=0, help="Length of a step, in standard deviations of the noise.")
    momentum: float = number(0.9, at_least=0, below=1, help="How much of the last steps is kept.")

    def start(self, noise: Tensor) -> State:
        """A velocity of zero."""
        return {"velocity": torch.zeros_like(noise)}

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        """Normalize, gather momentum, normalize."""
        velocity = self.momentum * state["velocity"] + unit_rms(gradient)
        return -self.step_size * unit_rms(velocity), {"velocity": velocity}


NAME, REGISTERED = "normalized gradient", NormalizedGradient
