"""The landscape's accounting, against the loop's own of the same step and against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sgool.benchmarks.worth.falls import Falls, Step, steps_of, summary
from sgool.guidance.augmentations import Augmentations
from sgool.guidance.objective import Context, Objective, Scored
from sgool.latent_optimization.history import History
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.trust_region import TrustRegion
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from ..latent_optimization.toy import Quadratic, linear_sampler, normal


class Jittered:
    """The toy loss as an objective of images."""

    def __init__(self) -> None:
        self.loss = Quadratic(normal(2, 3, 2, 2, seed=1), jitter=0.5)

    def begin(self) -> None:
        """Nothing is kept."""

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Objective:
        return self

    def __call__(self, images: Tensor, context: Context) -> Scored:
        return Scored(*self.loss(images, context.index, context.iteration, context.generator))


def run(**changes: Any) -> tuple[History, dict[Any, list[float]]]:
    falls = Falls(Jittered())
    objective: Objective = falls if changes.get("trust_region") is None else falls.inner

    def evaluate(latent: Tensor, index: int, iteration: int, generator: torch.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        scored = objective(latent, Context(iteration, generator, index))
        return scored.losses, scored.parts

    settings = Settings(rule=NormalizedGradient(0.01, 0.0), renormalize="none", **changes)
    return optimize(normal(2, 3, 2, 2), linear_sampler(), evaluate, settings, seed=2).history, falls.fallen


def test_a_first_step_is_what_the_loops_own_trust_region_measures() -> None:
    plain = steps_of(*run(iterations=1))
    judged = run(iterations=1, trust_region=TrustRegion())[0]
    assert [step.fall for step in plain] == pytest.approx(judged.rows[1].fall)
    assert [step.promised for step in plain] == pytest.approx(judged.rows[0].predicted_fall)
    assert [step.length for step in plain] == pytest.approx([0.01, 0.01])
    assert all(step.kept for step in plain)


def test_every_step_counts_once_and_no_search_or_rescoring() -> None:
    assert len(steps_of(*run(iterations=4, best_of=3, returned="rescored"))) == 8
    judged = steps_of(*run(iterations=6, trust_region=TrustRegion(longest=100.0, expand=50.0)))
    assert len(judged) == 12
    assert [step.kept for step in judged] == [step.fall > 0 for step in judged]
    assert not all(step.kept for step in judged)


def test_small_steps_bring_what_was_promised() -> None:
    assert [step.fall / step.promised for step in steps_of(*run(iterations=3))] == pytest.approx([1] * 6, abs=0.05)


def test_the_tables_numbers() -> None:
    steps = [Step(0.1, 2.0, 1.0, True), Step(0.2, 2.0, 0.5, True), Step(0.3, 4.0, -4.0, False), Step(0.4, -1.0, 1.0, True)]
    assert summary(steps, 2) == [4, "0.25", "75 (30 to 95)", "0.25", "25", "75", "100", "1.2500"]
