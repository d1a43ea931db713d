"""How a gradient in the noise becomes a step: DOODL's rule, the normalized gradient, Adam.

A rule is a frozen dataclass that holds its numbers and no state. Its state is a dictionary of tensors whose first dimension is the
batch, so that the loop can keep one image's state and replace another's. The loop also scales a step (step halving), applies it
and renormalizes the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .per_image import spread, unit_rms

State = dict[str, Tensor]
Draw = Callable[[], Tensor]


class UpdateRule(Protocol):
    """What the loop asks of a rule."""

    def start(self, noise: Tensor) -> State:
        """The state before the first step, for ``noise (B, ...)``."""

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        """What to add to the noise, ``(B, ...)``, given the loss's ``gradient`` in it, and the state after that.

        ``draw()`` gives standard normal noise of the gradient's shape, each image's from its own generator.
        """


def _check(name: str, value: float, low: float, high: float = math.inf, *, above: bool = False) -> None:
    fits = math.isfinite(value) and (low < value if above else low <= value) and value < high
    if not fits:
        limits = f"{'above' if above else 'at least'} {low:g}" + ("" if math.isinf(high) else f" and below {high:g}")
        raise ValueError(f"{name} is {value}; it has to be {limits}.")


@dataclass(frozen=True)
class DOODLUpdate:
    """The step of DOODL (arXiv 2303.13703), with the numbers and in the order of its released ``doodl.py``.

    g = -0.5 * gradient_scale * gradient; each element clipped to [-clip, clip]; b = momentum * b + g (the first b is g);
    noise += b + perturbation * normal noise. The rescaling to the initial norm that follows is the loop's ("initial").

    The factor 0.5 comes from DOODL's pair of coupled latents, over which it sums the losses. With one latent it is the same step: half the
    gradient of one loss is what the released code gets by averaging the pair's gradients of two equal losses.

    Args:
        gradient_scale: factor of the loss, at least 0. Published default 1.
        clip: largest magnitude of an element of the gradient, above 0. Published default 1e-3.
        momentum: in [0, 1). Published: 0.9. Since elements are clipped before, a step is at most clip / (1 - momentum) per element.
        perturbation: standard deviation of the noise added with each step, at least 0. Published default 1e-4.

    Raises:
        ValueError: for a number outside its range.
    """

    gradient_scale: float = 1.0
    clip: float = 1e-3
    momentum: float = 0.9
    perturbation: float = 1e-4

    def __post_init__(self) -> None:
        _check("The gradient scale", self.gradient_scale, 0)
        _check("The gradient clip", self.clip, 0, above=True)
        _check("The momentum", self.momentum, 0, 1)
        _check("The perturbation", self.perturbation, 0)

    def start(self, noise: Tensor) -> State:
        """A velocity of zero."""
        return {"velocity": torch.zeros_like(noise)}

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        """Clip, gather momentum, perturb."""
        pull = (-0.5 * self.gradient_scale * gradient).clamp(-self.clip, self.clip)
        velocity = self.momentum * state["velocity"] + pull
        step = velocity + self.perturbation * draw() if self.perturbation > 0 else velocity
        return step, {"velocity": velocity}


@dataclass(frozen=True)
class NormalizedGradient:
    """Steps of one length, whatever the scale of the loss: each moves the noise by ``step_size`` of its standard deviation.

    u = gradient / rms(gradient); m = momentum * m + u; noise -= step_size * m / rms(m), every rms over one image's elements. This
    project's own choice: gradients of different encoders differ by orders of magnitude; a length in units of the noise carries over.

    Args:
        step_size: root mean square of each step, above 0, in units of the noise's unit standard deviation.
        momentum: in [0, 1).

    Raises:
        ValueError: for a number outside its range.
    """

    step_size: float = 0.03
    momentum: float = 0.9

    def __post_init__(self) -> None:
        _check("The step size", self.step_size, 0, above=True)
        _check("The momentum", self.momentum, 0, 1)

    def start(self, noise: Tensor) -> State:
        """A velocity of zero."""
        return {"velocity": torch.zeros_like(noise)}

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        """Normalize, gather momentum, normalize."""
        velocity = self.momentum * state["velocity"] + unit_rms(gradient)
        return -self.step_size * unit_rms(velocity), {"velocity": velocity}


@dataclass(frozen=True)
class AdamUpdate:
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1) on the noise, as DNO (arXiv 2405.18881) optimizes it.

    Args:
        step_size: learning rate, above 0. DNO's released code has 0.01.
        beta1, beta2: in [0, 1); the paper's 0.9 and 0.999.
        epsilon: above 0; the paper's 1e-8. ReNO (arXiv 2406.04312) takes 1e-2 where its gradients are small and noisy.

    Raises:
        ValueError: for a number outside its range.
    """

    # Not torch.optim.Adam: one image's step may have to be undone while the others' stand, and its state is not made to be split.
    step_size: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _check("The step size", self.step_size, 0, above=True)
        _check("beta1", self.beta1, 0, 1)
        _check("beta2", self.beta2, 0, 1)
        _check("epsilon", self.epsilon, 0, above=True)

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
