"""McCallum-Foster's coupling of Euler steps (arXiv 2410.11648), which Rex (arXiv 2502.08834) brings to diffusion models."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from .plan import Plan, Update, check_range, check_sigmas


@dataclass(frozen=True)
class McCallumFoster:
    """x+ = z x + (1 - z) y + F_h(y), y+ = y - F_-h(x+), with F the increment of Euler's (DDIM's) step, forwards and back.

    The step back starts from the next sigma. Where that is 0, at which a model has no slope, the last step takes it at the sigma where it
    began, and scales the state for it, as EDICT does; it stays exactly reversible. Two model calls a step. The only one of the four with a
    region of stability.

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
            h = following - sigma
            steps.append((Update(0, z, 1 - z, h, sigma), Update(1, 1.0, 0.0, h, following)))
        if sigmas[-1] == 0:
            forward, back = steps[-1]
            steps[-1] = forward, replace(back, sigma=sigmas[-2], scale=scales[-1] / scales[-2])
        steps[0] = (Update(1, 1.0, 1.0), *steps[0])
        return Plan(tuple(steps), (0,) * len(steps), tuple(sigmas))
