"""What the loop asks of an update rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

State = dict[str, Tensor]
Draw = Callable[[], Tensor]


class UpdateRule(Protocol):
    """How a gradient becomes a step.

    A rule is a frozen dataclass that holds its numbers and no state. Its state is a dictionary of tensors whose first dimension is the
    batch, so that the loop can keep one image's state and replace another's. The loop also scales a step (step halving), applies it
    and renormalizes the noise.
    """

    def start(self, noise: Tensor) -> State:
        """The state before the first step, for ``noise (B, ...)``."""

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        """What to add to the noise, ``(B, ...)``, given the loss's ``gradient`` in it, and the state after that.

        ``draw()`` gives standard normal noise of the gradient's shape, each image's from its own generator.
        """
