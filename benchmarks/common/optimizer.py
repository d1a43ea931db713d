"""All that benchmarks take from the optimizer's settings, in one place."""

from __future__ import annotations

from typing import Any

from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.presets import DEFAULT_PRESET, DOODL, SEARCH_FIRST, SGOOL, Preset, preset
from sgool.latent_optimization.regularizers import NormLikelihood, WhiteNoise
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.update_rules.adam import AdamUpdate
from sgool.latent_optimization.update_rules.doodl import DOODLUpdate
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient

BACKWARD = 2  # forwards that a backward counts as: it computes each call again, and a gradient costs about as much as a forward


def differentiated(schedule: JacobianSchedule, calls: int) -> int:
    """How many of a run's model calls a gradient passes through."""
    return sum(schedule.carries(index, calls) for index in range(calls))


def sampler_runs(of: Preset, calls: int) -> float:
    """What a preset costs in runs of its sampler, of so many model calls each."""
    search = of.settings.best_of if of.settings.best_of > 1 else 0
    draws = of.settings.smoothing.draws if of.settings.smoothing is not None else 0
    return search + 1 + of.settings.iterations * (1 + draws) * (1 + BACKWARD * differentiated(of.jacobian, calls) / calls)


def evaluations(of: Preset, cost: dict[str, int]) -> float:
    """Model evaluations of what was run, a backward counted as two; ``cost``: ``runs``, ``backwards`` and ``calls`` of all runs."""
    return cost["calls"] + BACKWARD * cost["backwards"] * differentiated(of.jacobian, cost["calls"] // max(1, cost["runs"]))


def default_settings() -> dict[str, Any]:
    """The pack's default preset as plain values, so that a run is not gone on with after it has changed."""
    return {"preset": DEFAULT_PRESET, **preset(DEFAULT_PRESET).to_dict()}


__all__ = ["DEFAULT_PRESET", "DOODL", "SEARCH_FIRST", "SGOOL", "AdamUpdate", "DOODLUpdate", "JacobianSchedule", "NormLikelihood"]
__all__ += ["NormalizedGradient", "Preset", "Settings", "WhiteNoise", "default_settings", "evaluations", "preset", "sampler_runs"]
