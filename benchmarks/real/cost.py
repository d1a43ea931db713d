"""What the methods cost, counted in samples: how long a run takes can only be said in units of what a plain sample takes there."""

from __future__ import annotations

import math

from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.presets import DEFAULT_PRESET, Settings, preset

from .plan import BEST_OF, EDICT, PLAIN, PUBLISHED, WINNER, Plan

CALLS_A_STEP = 2  # of EDICT
BACKWARD = 2  # forwards that a backward counts as: it computes each call again, and a gradient costs about as much as a forward


def differentiated(schedule: JacobianSchedule, calls: int) -> int:
    """How many of a run's model calls a gradient passes through."""
    return sum(schedule.carries(index, calls) for index in range(calls))


def sampler_runs(settings: Settings, iterations: int, calls: int) -> float:
    """What a preset costs in runs of its sampler, of so many model calls each. ``iterations`` -1 is the preset's own number."""
    chosen = settings.iterations if iterations < 0 else iterations
    backward = BACKWARD * differentiated(settings.jacobian, calls) / calls
    return (1 + backward) * chosen + 1 + (settings.best_of if settings.best_of > 1 else 0)


def equal_cost(iterations: int, steps: int) -> int:
    """At least so many plain samples cost what the pack's default preset costs, with a sampler of one call a step."""
    settings = preset(DEFAULT_PRESET)
    calls = CALLS_A_STEP * settings.procedure.steps if settings.procedure else steps
    return math.ceil(sampler_runs(settings, iterations, calls) * calls / steps)


def plain_samples(plan: Plan, method: str) -> float:
    """What an image of a method costs, in plain samples of the same size. Decoding and scoring are not in it, nor samplers that call the
    model more than once a step."""
    if method == PLAIN:
        return 1.0
    if method == BEST_OF:
        return float(plan.best_of)
    settings = preset({EDICT: PUBLISHED[0], WINNER: DEFAULT_PRESET}.get(method, method))
    calls = CALLS_A_STEP * settings.procedure.steps if settings.procedure else plan.steps
    return sampler_runs(settings, 0 if method == EDICT else plan.iterations, calls) * calls / plan.steps


def estimate(plan: Plan) -> str:
    """A sentence for the user, before a run that may take days."""
    each = {method: plain_samples(plan, method) for method in plan.methods}
    parts = ", ".join(f"{method} {cost:.0f}" for method, cost in each.items())
    one = sum(each.values())
    total = one * len(plan.prompts) * plan.seeds
    return (
        f"In plain samples, a prompt and seed cost about {one:.0f} ({parts}), all of it {total:.0f}: at one second for a plain "
        f"sample {total / 3600:.1f} hours, on one server. Decoding and scoring come on top."
    )
