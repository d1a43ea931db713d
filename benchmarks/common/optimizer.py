"""What a preset will cost, to compare methods at equal cost, and what the default preset is, for folders of results to remember."""

from __future__ import annotations

from typing import Any

from sgool.latent_optimization.presets import DEFAULT_PRESET, Preset, preset

BACKWARD = 2  # runs that a gradient counts as beside its own: each call made again and differentiated; where calls are kept it costs one


def sampler_runs(of: Preset, calls: int) -> float:
    """What a preset will cost in runs of its sampler, of so many model calls each. What it did cost is in the run's history."""
    search = of.settings.best_of if of.settings.best_of > 1 else 0
    draws = of.settings.smoothing.draws if of.settings.smoothing is not None else 0
    differentiated = sum(of.jacobian.carries(index, calls) for index in range(calls))
    return search + 1 + of.settings.iterations * (1 + draws) * (1 + BACKWARD * differentiated / calls)


def default_settings() -> dict[str, Any]:
    """The pack's default preset as plain values, so that a run is not gone on with after it has changed."""
    return {"preset": DEFAULT_PRESET, **preset(DEFAULT_PRESET).to_dict()}
