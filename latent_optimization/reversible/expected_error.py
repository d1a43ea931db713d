"""How much of what a reversible run reconstructs is rounding, known from its plan before any model call."""

from __future__ import annotations

import math

import torch

from .plan import Plan, Update

WORTH_A_WARNING = 1e-3
# Of one update, in machine epsilons: the root mean square of rounding is 0.29; the rest is how far the matrices' norms exceed what
# happens, from comparison with measured round trips of all solvers at 10, 50 and 100 steps.
ROUNDING = 0.1
Matrix = tuple[tuple[float, float], tuple[float, float]]


def expected_error(plan: Plan, dtype: torch.dtype) -> float:
    """The relative error to expect in the starting noise when a plan is run backwards with states of ``dtype``.

    Each update rounds; all updates undone after it multiply what was rounded. The multiplication is that of a denoiser whose answer does
    not move with its input (high sigmas) or moves as its input does (low sigmas), the worse of the two. An estimate of the order of
    magnitude; measured ones are in docs/reversible.md.
    """
    return max(_expected(plan, torch.finfo(dtype).eps, moving) for moving in (False, True))


def _expected(plan: Plan, eps: float, moving: bool) -> float:
    top = math.hypot(1, plan.sigmas[0])
    # Updates in their order; `growth` is the inverse of all before the one looked at, which undoing it leads through.
    growth: Matrix = ((1.0, 0.0), (0.0, 1.0))
    total = 0.0
    for step, updates in enumerate(plan.steps):
        size = math.hypot(1, plan.sigmas[step])
        for update in updates:
            growth = _times(growth, _inverse(update, moving))
            column = [row[update.target] for row in growth]
            total += (ROUNDING * eps * size * math.hypot(*column) * abs(update.keep)) ** 2
    return math.sqrt(total) / top


def _inverse(update: Update, moving: bool) -> Matrix:
    """The linear map that undoes an update, of a denoiser that answers with what it was given, or always the same."""
    other = update.mix if moving or update.weight == 0 else update.mix + update.weight * update.scale / update.sigma
    keep, mix = 1 / update.keep, -other / update.keep
    return ((keep, mix), (0.0, 1.0)) if update.target == 0 else ((1.0, 0.0), (mix, keep))


def _times(a: Matrix, b: Matrix) -> Matrix:
    (p, q), (r, s) = a
    (t, u), (v, w) = b
    return ((p * t + q * v, p * u + q * w), (r * t + s * v, r * u + s * w))
