"""McCallum-Foster's coupling of Euler steps (arXiv 2410.11648), which Rex (arXiv 2502.08834) brings to diffusion models."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .plan import Plan, Update, check_range, check_sigmas


@dataclass(frozen=True)
class McCallumFoster:
    """With u = x / sigma, in which DDIM is Euler's method for the denoised D: u+ = z u + (1 - z) v + F_h(v), v+ = v - F_-h(u+).

    F is the increment of that method, forwards and back; the step back starts from the next sigma. In u the model's own shrinking of the
    noise is solved exactly (the exponential part of Rex) and what is left is not stiff; coupled in x itself, the two states drift apart.
    To a last sigma of 0, where u is infinite, the step is taken in x, both ways from the sigma where it begins and with the state scaled
    for it, as EDICT does; it stays exactly reversible. Two model calls a step. The only family of the four with a region of stability.

    Args:
        coupling: z, in (0, 1]; published 0.999. Run backwards, each step multiplies the difference between the states by 1 / z.

    Raises:
        ValueError: for a coupling outside its range.
    """

    coupling: float = 0.999
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range("McCallum-Foster's coupling", self.coupling, 0, 1)

    def plan(self, sigmas: Sequence[float], scales: Sequence[float]) -> Plan:
        """See :class:`Solver`."""
        check_sigmas(sigmas)
        z = self.coupling
        steps: list[tuple[Update, ...]] = []
        for sigma, following in itertools.pairwise(sigmas):
            h, r = following - sigma, following / sigma
            # (1 - r) D(v) is (1 - r) v + h d(v): the mix and the weight.
            steps.append((Update(0, z * r, 1 - z * r, h, sigma), Update(1, r, 1 - r, h * r, following)))
        if sigmas[-1] == 0:
            h = -sigmas[-2]
            steps[-1] = Update(0, z, 1 - z, h, sigmas[-2]), Update(1, 1.0, 0.0, h, sigmas[-2], scales[-1] / scales[-2])
        steps[0] = (Update(1, 1.0, 1.0), *steps[0])
        return Plan(tuple(steps), (0,) * len(steps), tuple(sigmas))
