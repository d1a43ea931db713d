"""ReNO's step: gradient descent with Nesterov momentum, on a gradient whose norm is clipped."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...schema.ranged import Ranged, flag, number
from ..per_image import norms, spread
from .interface import Draw, State


@dataclass(frozen=True)
class SGDUpdate(Ranged):
    """The step of ReNO (arXiv 2406.04312), with the numbers of its released ``arguments.py`` and in the order of its ``trainer.py``.

    g is scaled down to the norm ``clip_norm`` where it is longer (``torch.nn.utils.clip_grad_norm_``, which adds 1e-6 to the norm);
    b = momentum * b + g (the first b is g); noise -= step_size * (g + momentum * b) with Nesterov's form, else step_size * b, as
    ``torch.optim.SGD`` has them. A step is at most step_size * clip_norm / (1 - momentum) long: 5 with the defaults, which is .04 standard
    deviations of a noise of 4 x 64 x 64 elements.

    Raises:
        ValueError: for a number outside its range.
    """

    # Not torch.optim.SGD, for the reason that Adam is not: see adam.py.
    step_size: float = number(5.0, above=0, help="Learning rate.")
    momentum: float = number(0.9, at_least=0, below=1, help="How much of the last steps is kept.")
    nesterov: bool = flag(True, help="Look ahead along the momentum (Nesterov).")
    clip_norm: float = number(0.1, above=0, help="Longest gradient, as its Euclidean norm over an image's elements.")

    def start(self, noise: Tensor) -> State:
        """A velocity of zero."""
        return {"velocity": torch.zeros_like(noise)}

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        """Clip, gather momentum, step."""
        clipped = gradient * spread((self.clip_norm / (norms(gradient) + 1e-6)).clamp(max=1.0), gradient)
        velocity = self.momentum * state["velocity"] + clipped
        ahead = clipped + self.momentum * velocity if self.nesterov else velocity
        return -self.step_size * ahead, {"velocity": velocity}


NAME, REGISTERED = "SGD", SGDUpdate
