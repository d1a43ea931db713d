"""The numbers of a run, as data and as text."""

from __future__ import annotations

import json
import math

import pytest
import torch
from sgool.latent_optimization.history import History
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.presets import PRESETS
from sgool.latent_optimization.recorder import Recorder
from sgool.latent_optimization.regularizers import WhiteNoise
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient

from .toy import Quadratic, linear_sampler, normal


@pytest.fixture(scope="module")
def history() -> History:
    """Of a run with everything in it."""
    settings = Settings(
        iterations=3, rule=NormalizedGradient(0.25), best_of=2, returned="rescored", regularizer=WhiteNoise(), rescoring_candidates=2
    )
    return optimize(normal(2, 4, 4), linear_sampler(), Quadratic(normal(2, 4, 4, seed=1), 0.1), settings).history


def test_every_number_is_what_it_says() -> None:
    noise, target = normal(1, 8), normal(1, 8, seed=1)
    settings = Settings(iterations=2, rule=NormalizedGradient(0.25, 0.0), renormalize="none")
    result = optimize(noise, linear_sampler(), Quadratic(target), settings)
    first, second, last = result.history.rows
    gradient = 2 * 2 * (2 * noise + 0.25 - target) / 8
    assert first.gradient_norm == pytest.approx([float(gradient.norm())])
    assert first.step_norm == pytest.approx([0.25 * math.sqrt(8)])
    assert first.noise_norm == pytest.approx([float(noise.norm())])
    assert last.noise_norm == pytest.approx([float(result.noise.norm())])
    assert first.loss == pytest.approx([float(((2 * noise + 0.25 - target) ** 2).mean())])
    assert second.parts["distance"] == pytest.approx([math.sqrt(second.loss[0])])
    assert all(math.isnan(number) for number in (*last.gradient_norm, *last.step_norm, *first.regularizer))
    assert [row.cost.sampler_runs for row in result.history.rows] == [1, 2, 3]
    assert [row.cost.sampler_backwards for row in result.history.rows] == [1, 2, 2]
    assert (result.history.images, result.history.elements) == (1, 8)


def test_it_becomes_json_and_says_what_was_set(history: History) -> None:
    data = json.loads(json.dumps(history.to_dict(), allow_nan=False))
    assert data["settings"]["iterations"] == 3
    assert data["settings"]["rule"] == {"step_size": 0.25, "momentum": 0.9, "name": "NormalizedGradient"}
    assert data["settings"]["regularizer"]["name"] == "WhiteNoise"
    assert len(data["rows"]) == 4
    assert len(data["candidates"]) == 2
    assert len(data["rescored"]) == 4
    assert data["rows"][3]["gradient_norm"] == [None, None]
    assert data["cost"]["model_calls"] is None
    assert data["cost"]["seconds"] > 0


def test_the_text_has_a_table_for_each_image(history: History) -> None:
    text = history.to_text()
    lines = text.splitlines()
    assert lines[0] == "Image 1"
    assert lines[1].startswith(f"started from noise {history.started_from[0]} of losses ")
    assert lines[2].split() == ["iteration", "loss", "distance", "gradient", "step", "rms", "noise", "rms", "factor"]
    assert lines[3].split()[0] == "0"
    assert float(lines[3].split()[1]) == pytest.approx(history.rows[0].loss[0], rel=1e-4)
    assert lines[6].split()[3:5] == ["-", "-"]
    assert f"returned: iteration {history.returned_iteration[1]}" in lines
    assert text.count("rescored: iteration") == 4
    assert lines[-1] == "6 sampler runs, 3 of them differentiated, 28 evaluations"
    assert "seconds" not in text  # the same run twice has the same text


def test_the_text_of_a_run_that_was_never_scored() -> None:
    result = optimize(normal(2, 4), linear_sampler(), None, Settings(iterations=0), recorder=Recorder(count_model_calls=lambda: 20))
    assert result.history.losses(0) == []
    assert "Image 1\n" in result.history.to_text()
    assert result.history.to_text().endswith("1 sampler runs, 0 of them differentiated, 0 evaluations, 20 model calls")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_written_down(name: str) -> None:
    history = optimize(torch.ones(1, 4), linear_sampler(), Quadratic(torch.zeros(1, 4)), PRESETS[name].settings).history
    assert json.dumps(history.to_dict(), allow_nan=False)
