"""O-BELM: the two-step method of least local error (arXiv 2410.07273)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .plan import Plan, Update, check_sigmas


@dataclass(frozen=True)
class OBELM:
    """x_next = r^2 x_before + (1 - r^2) x - h (1 + r) d(x), with h the size of this step in sigma and r its ratio to the one before.

    The paper writes it for x / alpha and sigma / alpha, which are ComfyUI's x and sigma for eps and v models. For flow models sigma / alpha
    is infinite at the start, so there it is applied to the flow's own x and sigma, whose derivative d is as well. The first step is
    DDIM's. One model call a step, no parameter. Ends at sigma 0 without dividing by it: h is the last sigma but one.
    """

    coupled: ClassVar[bool] = False

    def plan(self, sigmas: Sequence[float], scales: Sequence[float]) -> Plan:
        """See :class:`Solver`. The scales are not needed."""
        check_sigmas(sigmas)
        steps = [(Update(1, 1.0, 1.0, sigmas[1] - sigmas[0], sigmas[0]),)]
        for i in range(1, len(sigmas) - 1):
            h = sigmas[i] - sigmas[i + 1]
            ratio = h / (sigmas[i - 1] - sigmas[i])
            steps.append((Update((i + 1) % 2, ratio**2, 1 - ratio**2, -h * (1 + ratio), sigmas[i]),))
        return Plan(tuple(steps), tuple((i + 1) % 2 for i in range(len(steps))), tuple(sigmas))
