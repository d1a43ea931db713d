"""DOODL's step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...schema.ranged import Ranged, number
from .interface import Draw, State


@dataclass(frozen=True)
class DOODLUpdate(Ranged):
    """The step of DOODL (arXiv 2303.13703), with the numbers and in the order of its released ``doodl.py``.

    g = -0.5 * gradient_scale * gradient; each element clipped to [-clip, clip]; b = momentum * b + g (the first b is g);
    noise += b + perturbation * normal noise. The rescaling to the initial norm that follows is the loop's ("initial"). Since elements are
    clipped before the momentum, a step is at most clip / (1 - momentum) per element.

    The factor 0.5 comes from DOODL's pair of coupled latents, over which it sums the losses. With one latent it is the same step: half the
    gradient of one loss is what the released code gets by averaging the pair's gradients of two equal losses.

    The defaults are the published ones.

    Raises:
        ValueError: for a number outside its range.
    """

    gradient_scale: float = number(1.0, at_least=0, help="Factor of the gradient.")
    clip: float = number(1e-3, above=0, help="Largest magnitude of an element of the gradient.")
    momentum: float = number(0.9, at_least=0, below=1, help="How much of the last steps is kept.")
    perturbation: float = number(1e-4, at_least=0, help="Standard deviation of the noise that is added with each step.")

    def start(self, noise: Tensor) -> State:
        """A velocity of zero."""
        return {"velocity": torch.zeros_like(noise)}

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        """Clip, gather momentum, perturb."""
        pull = (-0.5 * self.gradient_scale * gradient).clamp(-self.clip, self.clip)
        velocity = self.momentum * state["velocity"] + pull
        step = velocity + self.perturbation * draw() if self.perturbation > 0 else velocity
        return step, {"velocity": velocity}


NAME, REGISTERED = "DOODL", DOODLUpdate
