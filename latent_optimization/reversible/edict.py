"""EDICT: two coupled estimates of the same latent (Wallace, Gokul, Naik, arXiv 2211.12446)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .plan import Plan, Update, check_range, check_sigmas


@dataclass(frozen=True)
class EDICT:
    """x' = x + h d(y), y' = y + h d(x'), then both are drawn together: x = p x' + (1 - p) y', y = p y' + (1 - p) x.

    The mixing is linear and between states of one sigma, so the published step (a x + b eps(y) with alphas) is this one in ComfyUI's
    parametrization. But x' belongs to the next sigma already, while the model is told this one's: what the published code hands it is
    the model's own state, of unit variance, and so x' is scaled here. Two model calls a step. Ends at sigma 0 as DDIM does.

    Args:
        mix: p, in (0, 1]; published default 0.93, useful from 0.9 to 0.97. Run backwards, each step multiplies the difference between the
            two states by p^-2.
        alternate: change which state goes first from step to step, as the released code of EDICT and of DOODL does.

    Raises:
        ValueError: for a mix outside its range.
    """

    mix: float = 0.93
    alternate: bool = True
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range("EDICT's mix", self.mix, 0, 1)

    def plan(self, sigmas: Sequence[float], scales: Sequence[float]) -> Plan:
        """See :class:`Solver`."""
        check_sigmas(sigmas)
        p = self.mix
        steps = [self._step(i, sigmas, scales) for i in range(len(sigmas) - 1)]
        mixing = (Update(0, p, 1 - p), Update(1, p, 1 - p))
        joined: list[tuple[Update, ...]] = [(*step, *mixing) for step in steps]
        joined[0] = (Update(1, 1.0, 1.0), *joined[0])
        return Plan(tuple(joined), (0,) * len(steps), tuple(sigmas))

    def _step(self, i: int, sigmas: Sequence[float], scales: Sequence[float]) -> tuple[Update, Update]:
        first = i % 2 if self.alternate else 0
        h = sigmas[i + 1] - sigmas[i]
        return Update(first, 1.0, 0.0, h, sigmas[i]), Update(1 - first, 1.0, 0.0, h, sigmas[i], scales[i + 1] / scales[i])
