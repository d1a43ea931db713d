"""BDIA: DDIM forwards and backwards from the same point (Zhang, Lewis, Kleijn, arXiv 2307.10829)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .plan import Plan, Update, check_range, check_sigmas


@dataclass(frozen=True)
class BDIA:
    """The next latent is DDIM's step, plus gamma times how far DDIM's step back misses the latent before.

    z_next = DDIM(z) + gamma (z_before - DDIM_back(z)), in the model's own states z = scale * x. ComfyUI's x differs from z by a factor
    that changes from step to step, so the published gamma becomes gamma * scale_before / scale_next here. The first step is DDIM's. One
    model call a step. Ends at sigma 0 as DDIM does.

    Args:
        gamma: in (0, 1]. 1 inverts best. Published: 0.5 at 10 steps, 1.0 at 40. Below 1, running backwards multiplies errors by 1 / gamma
            at each step.

    Raises:
        ValueError: for a gamma outside its range.
    """

    gamma: float = 1.0
    coupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("BDIA's gamma", self.gamma, 0, 1)

    def plan(self, sigmas: Sequence[float], scales: Sequence[float]) -> Plan:
        """See :class:`Solver`."""
        check_sigmas(sigmas)
        steps = [(Update(1, 1.0, 1.0, sigmas[1] - sigmas[0], sigmas[0]),)]
        for i in range(1, len(sigmas) - 1):
            gamma = self.gamma * scales[i - 1] / scales[i + 1]
            weight = (sigmas[i + 1] - sigmas[i]) - gamma * (sigmas[i - 1] - sigmas[i])
            steps.append((Update((i + 1) % 2, gamma, 1 - gamma, weight, sigmas[i]),))
        return Plan(tuple(steps), tuple((i + 1) % 2 for i in range(len(steps))), tuple(sigmas))
