"""What all reversible solvers have in common: two states, changed in turn, each by what the model says of the other.

Every step of every solver here is a sequence of updates of one form,

    u <- keep * u + mix * v + weight * d(scale * v, sigma),

where u is one of the two states, v the other, and ``d(x, sigma) = (x - D(x, sigma)) / sigma`` with the denoiser D. Whatever d is, v is
still there afterwards, so the update is undone by ``u <- (u - mix * v - weight * d(scale * v, sigma)) / keep``. A solver is no more than
the list of its updates; running it, running it backwards and its gradient are written once (chain.py).

In ComfyUI's sigma parametrization d is the derivative of the state in sigma, for eps, v and flow models alike, so DDIM is Euler's method.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

Pair = tuple[Tensor, Tensor]
Slope = Callable[[Tensor, float], Tensor]
"""``slope(x, sigma)``: (x - D(x, sigma)) / sigma, of the shape of ``x (B, ...)``. Has to give the same for the same, bit for bit."""


@dataclass(frozen=True)
class Update:
    """One update: ``pair[target]`` becomes ``keep`` times itself, ``mix`` times the other, and ``weight`` times the other's slope.

    Attributes:
        target: 0 or 1.
        keep: not 0, or it could not be undone.
        mix: any number.
        weight: 0 for an update without model call.
        sigma: where the slope is evaluated, above 0; unused where ``weight`` is 0.
        scale: factor of what is given to the slope.
    """

    target: int
    keep: float
    mix: float
    weight: float = 0.0
    sigma: float = math.nan
    scale: float = 1.0


@dataclass(frozen=True)
class Plan:
    """All updates of a run.

    The run starts from the pair (x, offset), where the offset is zero unless it comes from an inversion: the first update, which belongs
    to the first step, makes the second state of it.

    Attributes:
        steps: the updates of each step, in order.
        newest: after each step, which of the pair is the result so far.
        sigmas: ``len(steps) + 1`` numbers, what the plan was made for.
    """

    steps: tuple[tuple[Update, ...], ...]
    newest: tuple[int, ...]
    sigmas: tuple[float, ...]

    @property
    def updates(self) -> list[Update]:
        """All updates in the order in which they run."""
        return [update for step in self.steps for update in step]

    @property
    def calls(self) -> int:
        """Model calls of a run."""
        return sum(update.weight != 0 for update in self.updates)


class Solver(Protocol):
    """A reversible solver: a frozen dataclass of its parameters."""

    coupled: ClassVar[bool]
    """Whether its two states are two estimates of the same latent; if not, they are the latent at this sigma and at the one before."""

    def plan(self, sigmas: Sequence[float], scales: Sequence[float]) -> Plan:
        """The updates for a schedule.

        Args:
            sigmas: falling, the last may be 0 (see :func:`check_sigmas`).
            scales: for each sigma, the factor between ComfyUI's state and the model's own: the alpha of alpha * x0 + sigma' * eps,
                1 / sqrt(1 + sigma^2) for eps and v models, 1 for flow models.
        """


def check_sigmas(sigmas: Sequence[float]) -> None:
    """See that a schedule can be run forwards and backwards.

    Raises:
        ValueError: unless there are at least two finite sigmas, strictly falling, and none but the last is 0.
    """
    if len(sigmas) < 2:
        raise ValueError(f"The schedule has {len(sigmas)} sigma(s); a reversible sampler needs at least two (one step).")
    if not all(math.isfinite(sigma) for sigma in sigmas) or min(sigmas) < 0:
        raise ValueError("The schedule has sigmas that are negative or not finite; check the node that makes it.")
    for step, (sigma, following) in enumerate(itertools.pairwise(sigmas), start=1):
        if following >= sigma:
            what = "the same sigma twice" if following == sigma else "a sigma that rises"
            raise ValueError(
                f"The schedule has {what} ({sigma:g}, then {following:g}, step {step}). A reversible sampler needs strictly falling "
                "sigmas: take fewer steps or another scheduler."
            )


def check_range(what: str, value: float, low: float, high: float) -> None:
    """Raise ``ValueError`` unless ``low < value <= high``."""
    if not low < value <= high:
        raise ValueError(f"{what} is {value}; it has to be above {low:g} and at most {high:g}.")
