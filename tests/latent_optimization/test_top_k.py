"""The best images of a run, against every one that it made."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sgool.latent_optimization.optimize import Result, optimize
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.top_k import TopK
from sgool.latent_optimization.trust_region import TrustRegion
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import Quadratic, linear_sampler, normal

NOISE, TARGET = normal(2, 6), normal(2, 6, seed=1)


class Everything(Quadratic):
    """Notes every image that it is asked about without augmentations, by what made it."""

    def __init__(self) -> None:
        super().__init__(TARGET, jitter=0.1)
        self.plain: list[tuple[int, float]] = []

    def __call__(self, latent: Tensor, index: int, iteration: int, generator: torch.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        losses, parts = super().__call__(latent, index, iteration, generator)
        if generator is None:
            self.plain.append((index, float(losses.detach())))
        return losses, parts


def run(count: int | None, objective: Quadratic | None = None, **changes: Any) -> Result:
    rule = NormalizedGradient(changes.pop("step", 0.2), 0.0)
    settings = Settings(**{"iterations": 4, "rule": rule, "renormalize": "none", **changes})
    top = None if count is None else TopK(count)
    return optimize(NOISE, linear_sampler(), objective or Everything(), settings, seed=1, top=top)


def score(noise: Tensor, image: int) -> float:
    return -float(((2 * noise + 0.25 - TARGET[image]) ** 2).mean())


WAYS: list[dict[str, Any]] = [
    {"returned": "last"},
    {"returned": "best", "best_of": 5},
    {"returned": "rescored", "best_of": 5, "search_augmented": True},
    {"returned": "rescored", "best_of": 3, "trust_region": TrustRegion(), "step": 3.0},
    {"iterations": 0, "best_of": 5},
]


@pytest.mark.parametrize("way", WAYS)
def test_the_best_of_all_that_were_made_behind_the_one_returned(way: dict[str, Any]) -> None:
    objective = Everything()
    result = run(3, objective, **way)
    for image, kept in enumerate(result.top):
        made = sorted({-loss for index, loss in objective.plain if index == image}, reverse=True)
        first, *others = kept
        assert len(kept) == 3
        assert torch.equal(first.noise, result.noise[image])
        assert torch.equal(first.latent, result.latent[image])
        assert [each.score for each in others] == [value for value in made if value != first.score][:2]
        for each in kept:
            assert each.score == pytest.approx(score(each.noise, image))
            assert torch.equal(each.latent, linear_sampler()(each.noise))
            assert each.noise.device.type == "cpu"
        assert len({each.origin for each in kept}) == 3


@pytest.mark.parametrize("way", WAYS)
def test_what_is_returned_is_the_same_to_the_last_bit(way: dict[str, Any]) -> None:
    without, one, several = run(None, **way), run(1, **way), run(4, **way)
    for each in (one, several):
        assert torch.equal(each.noise, without.noise)
        assert torch.equal(each.latent, without.latent)
        assert [row.loss for row in each.history.rows] == [row.loss for row in without.history.rows]
    assert one.top == without.top == []
    assert one.history.cost.evaluations == without.history.cost.evaluations
    assert one.messages == without.messages


def test_what_made_each_is_said() -> None:
    result = run(9, best_of=4, returned="last")
    for image, kept in enumerate(result.top):
        started = result.history.started_from[image]
        expected = {f"noise {number} of the search" for number in range(4)} | {f"iteration {number}" for number in range(1, 5)}
        assert {each.origin for each in kept} == expected
        assert kept[0].origin == "iteration 4"
        (start,) = [each for each in kept if each.origin == f"noise {started} of the search"]
        searched = [candidate.loss[image] for candidate in result.history.candidates]
        assert -start.score == pytest.approx(min(searched))
    assert result.messages == [f"Image {image}: 9 were to be kept, and only 8 were made." for image in (1, 2)]


def test_a_step_that_was_taken_back_is_not_kept() -> None:
    result = run(9, trust_region=TrustRegion(), step=3.0)
    rejected = [sum(row.rejected[image] for row in result.history.rows) for image in range(2)]
    assert all(rejected)
    assert [len(kept) for kept in result.top] == [5 - back for back in rejected]


def test_no_more_than_asked_for_are_kept_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    most, add = 0, TopK._add

    def counted(self: TopK, *arguments: Any) -> None:
        nonlocal most
        add(self, *arguments)
        most = max(most, *map(len, self._kept))

    monkeypatch.setattr(TopK, "_add", counted)
    run(2, best_of=12)
    assert most == 2


def test_a_loss_that_is_not_finite_comes_last() -> None:
    class Broken(Quadratic):
        def __call__(self, latent: Tensor, index: int, iteration: int, generator: Any) -> tuple[Tensor, dict[str, Tensor]]:
            losses, parts = super().__call__(latent, index, iteration, generator)
            return (losses * math.nan if len(self.calls) % 3 == 0 else losses), parts

    result = run(5, Broken(TARGET), best_of=5, iterations=0)
    for kept in result.top:
        finite = [math.isfinite(each.score) for each in kept]
        assert not all(finite)
        assert finite == sorted(finite, reverse=True)


def test_fewer_than_one_is_refused() -> None:
    with pytest.raises(ValueError, match="top_k is 0; it has to be at least 1"):
        TopK(0)
