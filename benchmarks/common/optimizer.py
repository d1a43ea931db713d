"""All that benchmarks take from the optimizer's settings, in one place."""

from __future__ import annotations

from typing import Any

from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.presets import DEFAULT_PRESET, DOODL, SEARCH_FIRST, SGOOL, Settings, preset
from sgool.latent_optimization.regularizers import NormLikelihood, WhiteNoise
from sgool.latent_optimization.update_rules import AdamUpdate, DOODLUpdate, NormalizedGradient

BACKWARD = 2  # forwards that a backward counts as: it computes each call again, and a gradient costs about as much as a forward


def differentiated(schedule: JacobianSchedule, calls: int) -> int:
    """How many of a run's model calls a gradient passes through."""
    return sum(schedule.carries(index, calls) for index in range(calls))


def sampler_runs(settings: Settings, iterations: int, calls: int) -> float:
    """What settings cost in runs of their sampler, of so many model calls each. ``iterations`` -1 is their own number."""
    chosen = settings.iterations if iterations < 0 else iterations
    backward = BACKWARD * differentiated(settings.jacobian, calls) / calls
    return (1 + backward) * chosen + 1 + (settings.best_of if settings.best_of > 1 else 0)


def evaluations(settings: Settings, cost: dict[str, int]) -> float:
    """Model evaluations of what was run, a backward counted as two; ``cost``: ``runs``, ``backwards`` and ``calls`` of all runs."""
    return cost["calls"] + BACKWARD * cost["backwards"] * differentiated(settings.jacobian, cost["calls"] // max(1, cost["runs"]))


def default_settings() -> dict[str, Any]:
    """The pack's default preset as plain values, so that a run is not gone on with after it has changed."""
    return {"preset": DEFAULT_PRESET, **preset(DEFAULT_PRESET).to_dict()}


__all__ = ["DEFAULT_PRESET", "DOODL", "SEARCH_FIRST", "SGOOL", "AdamUpdate", "DOODLUpdate", "JacobianSchedule", "NormLikelihood"]
__all__ += ["NormalizedGradient", "Settings", "WhiteNoise", "default_settings", "evaluations", "preset", "sampler_runs"]
