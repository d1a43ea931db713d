"""Where a run starts, when it stops, and which iterate it returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.presets import DEFAULT_PRESET, PRESETS, Procedure, preset
from sgool.latent_optimization.settings import Settings, Stopping
from sgool.latent_optimization.trajectory import EarlyStop, Trajectory
from sgool.latent_optimization.trust_region import TrustRegion
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import Quadratic, linear_sampler, normal


class Scripted:
    """Losses read from a script, one list per image, by iteration; those of rescoring from another, by iterate."""

    def __init__(self, script: list[list[float]], fresh: dict[float, float] | None = None) -> None:
        self.script, self.fresh = script, fresh or {}
        self.states: list[tuple[float, Tensor]] = []
        self.done = [0] * len(script)

    def __call__(self, latent: Tensor, index: int, iteration: int, generator: Any) -> tuple[Tensor, dict[str, Tensor]]:
        if self.done[index] == len(self.script[index]):
            place = round(float(latent.flatten()[0]), 3)
            self.states.append((place, generator.get_state()))
            torch.rand(5, generator=generator)
            return torch.tensor([self.fresh[place]]), {}
        loss = self.script[index][self.done[index]]
        self.done[index] += 1
        return loss - (latent - latent.detach()).flatten(1).sum(1), {}  # a gradient of -1: a walk uphill


def walk(objective: Scripted, **changes: Any) -> Any:
    settings = Settings(**{"iterations": 3, "rule": NormalizedGradient(0.1, 0.0), "renormalize": "none", **changes})
    return optimize(torch.zeros(len(objective.script), 1), lambda x: 1.0 * x, objective, settings)


def places(result: Any) -> list[float]:
    return [round(float(x), 3) for x in result.noise.flatten()]


SCRIPT = [[4.0, 1.0, 2.0, 3.0], [4.0, 3.0, 2.0, 2.0]]


def test_last_or_best_is_chosen_for_each_image() -> None:
    last, best = walk(Scripted(SCRIPT), returned="last"), walk(Scripted(SCRIPT), returned="best")
    assert places(last) == [0.3, 0.3]
    assert places(best) == [0.1, 0.2]  # the earliest of equals
    assert best.history.returned_iteration == [1, 2]
    assert torch.equal(best.latent, best.noise)


def test_a_image_that_failed_returns_its_best_even_where_the_last_is_asked_for() -> None:
    result = walk(Scripted([[4.0, 1.0, 2.0, math.nan, math.nan, math.nan]]), iterations=9, returned="last")
    assert places(result) == [0.1]
    assert result.history.returned_iteration == [1]


def test_rescoring_takes_the_last_and_the_lowest_and_believes_the_fresh_score() -> None:
    objective = Scripted(SCRIPT[:1], {0.0: -9.0, 0.1: 5.0, 0.2: 0.5, 0.3: 0.7})
    result = walk(objective, returned="rescored", rescoring_candidates=3, rescoring_augmentations=2)
    assert places(result) == [0.2]
    assert [line.iteration for line in result.history.rescored] == [1, 2, 3]
    assert [line.loss for line in result.history.rescored] == pytest.approx([5.0, 0.5, 0.7])
    assert [place for place, _ in objective.states] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    first, second = objective.states[0][1], objective.states[1][1]
    assert not torch.equal(first, second)  # two augmentations
    assert all(torch.equal(state, (first, second)[number % 2]) for number, (_, state) in enumerate(objective.states))  # the same for all


def test_rescoring_draws_what_the_optimization_did_not() -> None:
    drawn: list[float] = []
    iterations: list[int] = []

    def evaluate(latent: Tensor, index: int, iteration: int, generator: Any) -> Any:
        iterations.append(iteration)
        drawn.append(float(torch.rand(1, generator=generator)))
        return latent.square().flatten(1).mean(1), {}

    optimize(normal(1, 4), linear_sampler(), evaluate, Settings(iterations=3, returned="rescored", rescoring_augmentations=3))
    assert len(set(drawn[:4])) == 4
    assert not set(drawn[:4]) & set(drawn[4:])
    assert len(drawn) == 4 + 4 * 3
    assert drawn[4:7] == drawn[7:10]
    assert iterations == [0, 1, 2, 3] + [0] * 12  # 0: a map kept from the last iterate would be another image's


def test_rescoring_falls_back_on_the_best_loss() -> None:
    result = walk(Scripted(SCRIPT[:1], dict.fromkeys((0.0, 0.1, 0.2, 0.3), math.nan)), returned="rescored")
    assert places(result) == [0.1]
    alone = walk(Scripted([[1.0]]), iterations=0, returned="rescored")
    assert alone.history.rescored == []


def test_the_shortlist_holds_the_last_and_the_lowest() -> None:
    iterates = Trajectory(Settings(returned="rescored"))
    for iteration, loss in enumerate([5.0, 1.0, math.nan, 3.0, 2.0, 9.0]):
        iterates.add(iteration, loss, torch.zeros(1), torch.zeros(1))
    assert [iterate.iteration for iterate in iterates.shortlist(3)] == [1, 4, 5]
    assert [iterate.iteration for iterate in iterates.shortlist(1)] == [5]
    assert [iterate.iteration for iterate in iterates.shortlist(99)] == [0, 1, 3, 4, 5]


def test_the_start_is_the_best_of_several_for_each_image() -> None:
    noise, target = normal(3, 4, 5), normal(3, 4, 5, seed=1)
    objective = Quadratic(target)
    tried: list[Tensor] = []

    def generate(x: Tensor) -> Tensor:
        tried.append(x.clone())
        return linear_sampler()(x)

    settings = Settings(iterations=0, best_of=6)
    result = optimize(noise, generate, objective, settings, seed=1)
    assert result.history.cost.sampler_runs == 6  # the winner is not sampled again
    assert torch.equal(tried[0], noise)
    losses = torch.stack([((linear_sampler()(x) - target) ** 2).flatten(1).mean(1) for x in tried[:6]])
    assert result.history.started_from == losses.argmin(0).tolist()
    assert len(set(result.history.started_from)) > 1
    assert result.history.rows[0].loss == losses.amin(0).tolist()
    for index, number in enumerate(result.history.started_from):
        assert torch.equal(result.noise[index], tried[number][index])
    assert torch.equal(result.latent, linear_sampler()(result.noise))
    fewer = optimize(noise, linear_sampler(), objective, Settings(iterations=0, best_of=2), seed=1)
    assert [row.loss for row in fewer.history.candidates] == [row.loss for row in result.history.candidates[:2]]
    follow = optimize(noise, linear_sampler(), objective, Settings(iterations=2, best_of=6), seed=1)
    assert [curve[0][1] for curve in map(follow.history.losses, range(3))] == result.history.rows[0].loss


def test_a_search_scores_without_randomness_unless_asked() -> None:
    seen = []

    def evaluate(latent, index, iteration, generator):
        seen.append(generator)
        return latent.square().flatten(1).mean(1), {}

    optimize(normal(2, 4), linear_sampler(), evaluate, Settings(iterations=1, best_of=3))
    assert seen[:6] == [None] * 6
    assert all(isinstance(generator, torch.Generator) for generator in seen[6:])


def test_all_candidates_are_seen_with_the_same_augmentations() -> None:
    drawn: list[float] = []

    def evaluate(latent: Tensor, index: int, iteration: int, generator: Any) -> Any:
        assert iteration == 0
        drawn.append(float(torch.rand(1, generator=generator)))
        return latent.square().flatten(1).mean(1), {}

    optimize(normal(2, 4), linear_sampler(), evaluate, Settings(iterations=0, best_of=3, search_augmented=True))
    assert drawn[0:2] == drawn[2:4] == drawn[4:6]
    assert drawn[0] != drawn[1]


def test_a_candidate_without_a_finite_loss_never_wins() -> None:
    losses = iter([math.nan, 5.0, math.inf, -math.inf, 4.0])

    def evaluate(latent: Tensor, *_: Any) -> Any:
        return torch.tensor([next(losses)]), {}

    result = optimize(normal(1, 4), linear_sampler(), evaluate, Settings(iterations=0, best_of=5))
    assert result.history.started_from == [4]


def watch(stopping: Stopping, losses: list[float]) -> list[str | None]:
    state = EarlyStop(stopping)
    return [state.failed() if math.isnan(loss) else state.saw(loss) for loss in losses]


def test_patience_counts_iterations_without_enough_improvement() -> None:
    reasons = watch(Stopping(patience=2, min_improvement=0.1), [1.0, 0.95, 0.85, 0.8, 0.76, 0.5])
    assert reasons[:4] == [None] * 4
    assert reasons[4] == "its loss did not improve by more than 0.1 in 2 iterations"


def test_targets_and_failures() -> None:
    assert watch(Stopping(target_loss=0.5), [0.6, 0.5]) == [None, "its loss 0.5 reached the target 0.5"]
    reasons = watch(Stopping(max_failures=2), [math.nan, 1.0, math.nan, math.nan])
    assert reasons == [None, None, None, "its loss or gradient was not finite 2 times in a row"]
    assert watch(Stopping(max_failures=1), [math.nan]) == ["its loss or gradient was not finite once"]
    assert watch(Stopping(), [1.0] * 99) == [None] * 99


def test_a_stopped_image_stays_put_and_costs_no_evaluation_and_the_run_ends_with_the_last() -> None:
    objective = Scripted([[3.0, 0.5, 9.0, 9.0, 9.0, 9.0], [3.0, 2.0, 2.0, 0.4, 9.0, 9.0]])
    result = walk(objective, iterations=5, stopping=Stopping(target_loss=1.0))
    assert objective.done == [2, 4]
    assert places(result) == [0.1, 0.3]
    assert result.history.cost.sampler_runs == 4
    assert [row.active for row in result.history.rows] == [[True, True], [True, True], [False, True], [False, True]]
    assert math.isnan(result.history.rows[2].loss[0])
    assert result.messages == [
        "Image 1 stopped early: its loss 0.5 reached the target 1 (iteration 1). Iteration 1 is returned.",
        "Image 2 stopped early: its loss 0.4 reached the target 1 (iteration 3). Iteration 3 is returned.",
    ]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Settings(iterations=-1), "iterations is -1; it has to be a whole number, at least 0."),
        (lambda: Settings(iterations=1.5), "iterations is 1.5; it has to be a whole number, at least 0."),  # type: ignore[arg-type]
        (lambda: Settings(iterations=True), "iterations is True; it has to be a whole number, at least 0."),
        (lambda: Settings(best_of=0), "best_of is 0; it has to be a whole number, at least 1."),
        (lambda: Settings(rescoring_augmentations=0), "rescoring_augmentations is 0; it has to be a whole number, at least 1."),
        (lambda: Settings(rescoring_candidates=0), "rescoring_candidates is 0; it has to be a whole number, at least 1."),
        (lambda: Settings(renormalize="always"), "renormalize is 'always'; it has to be one of initial, shell, white, none."),
        (lambda: Settings(returned="first"), "returned is 'first'; it has to be one of last, best, rescored."),
        (lambda: Procedure(steps=0), "steps is 0; it has to be a whole number, at least 1."),
        (lambda: Procedure(cutouts=0), "cutouts is 0; it has to be a whole number, at least 1."),
        (lambda: Procedure(reduce="median"), "reduce is 'median'; it has to be one of minimum, mean."),
        (lambda: Procedure(cfg=math.inf), "cfg is inf; it has to be at least 0."),
        (lambda: Procedure(cut_power=-1.0), "cut_power is -1.0; it has to be at least 0."),
        (lambda: preset("SGOL"), "There is no preset 'SGOL'. Presets: search first, balanced, SGOOL, DOODL, ReNO."),
        (lambda: Stopping(patience=-1), "patience is -1; it has to be a whole number, at least 0."),
        (lambda: Stopping(min_improvement=-1), "min_improvement is -1; it has to be at least 0."),
        (lambda: Stopping(target_loss=math.nan), "The target loss is not a number; give a loss to stop at, or none."),
        (lambda: Stopping(max_failures=0), "max_failures is 0; it has to be a whole number, at least 1."),
    ],
)
def test_settings_are_checked(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        make()
    assert str(caught.value) == sentence


def test_the_papers_presets_have_the_published_numbers() -> None:
    for name in ("SGOOL", "DOODL"):
        settings = preset(name).settings
        rule = settings.rule
        assert vars(rule) == {"gradient_scale": 1.0, "clip": 1e-3, "momentum": 0.9, "perturbation": 1e-4}
        assert (settings.iterations, settings.renormalize, settings.returned, settings.best_of) == (50, "initial", "last", 1)
        assert settings.regularizer is None
    assert DEFAULT_PRESET in PRESETS
    assert preset("balanced").settings == Settings(returned="rescored")
    searching = preset("search first").settings
    assert (searching.best_of, searching.iterations, searching.trust_region) == (16, 5, TrustRegion())
    assert searching.rule == NormalizedGradient(step_size=0.03, momentum=0.0)


def test_the_papers_presets_are_their_procedure() -> None:
    for name in ("SGOOL", "DOODL"):
        assert preset(name).to_dict()["procedure"] == {
            "solver": {"name": "EDICT", "mix": 0.93, "alternate": True},
            "steps": 50,
            "cfg": 7.5,
            "cutouts": 16,
            "cut_power": 0.3,
            "reduce": "minimum",
            "region": "multiply" if name == "SGOOL" else None,
        }
    assert preset("balanced").to_dict()["procedure"] is None
