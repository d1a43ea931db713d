"""What the methods cost, counted in samples: how long a run takes can only be said in units of what a plain sample takes there."""

from __future__ import annotations

from sgool.latent_optimization.presets import DEFAULT_PRESET, Settings, preset

from .plan import BEST_OF, EDICT, PLAIN, PUBLISHED, WINNER, Plan

CALLS_A_STEP = 2  # of EDICT
BACKWARD = 2  # forwards that a backward counts as: it computes each call again, and a gradient costs about as much as a forward


def sampler_runs(settings: Settings, iterations: int) -> int:
    """What a preset costs in runs of its sampler. ``iterations`` -1 is the preset's own number."""
    chosen = settings.iterations if iterations < 0 else iterations
    return (1 + BACKWARD) * chosen + 1 + (settings.best_of if settings.best_of > 1 else 0)


def equal_cost(iterations: int) -> int:
    """So many plain samples cost what the pack's default preset costs."""
    return sampler_runs(preset(DEFAULT_PRESET), iterations)


def plain_samples(plan: Plan, method: str) -> float:
    """What a picture of a method costs, in plain samples of the same size. Decoding and scoring are not in it, nor samplers that call the
    model more than once a step."""
    if method == PLAIN:
        return 1.0
    if method == BEST_OF:
        return float(plan.best_of)
    settings = preset({EDICT: PUBLISHED[0], WINNER: DEFAULT_PRESET}.get(method, method))
    runs = sampler_runs(settings, 0 if method == EDICT else plan.iterations)
    return runs * (CALLS_A_STEP * settings.procedure.steps / plan.steps if settings.procedure else 1.0)


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
