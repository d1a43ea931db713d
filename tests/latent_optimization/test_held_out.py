"""Held-out objectives: asked at the right places, of the right images, without being listened to."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from sgool.latent_optimization.optimize import Result, optimize
from sgool.latent_optimization.plot import panels_of
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import Quadratic, linear_sampler, normal

NOISE, TARGET = normal(2, 6), normal(2, 6, seed=1)


class Watched(Quadratic):
    """Notes how it is asked; ``sign`` -1 wants the opposite of the objective."""

    def __init__(self, target: Tensor, sign: float = 1.0) -> None:
        super().__init__(target)
        self.sign, self.asked = sign, list[Any]()

    def __call__(self, latent: Tensor, index: int, iteration: int, generator: torch.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        self.asked.append((latent.clone(), iteration, generator, latent.requires_grad, torch.is_grad_enabled()))
        losses, parts = super().__call__(latent, index, iteration, generator)
        return self.sign * losses, parts


def run(watched: Watched | None, **changes: Any) -> Result:
    settings = Settings(**{"iterations": 3, "rule": NormalizedGradient(0.02, 0.0), "renormalize": "none", **changes})
    return optimize(NOISE, linear_sampler(), Quadratic(TARGET, jitter=0.1), settings, seed=1, held_out=watched)


def distance(noise: Tensor, image: int) -> float:
    return float(((2 * noise[image] + 0.25 - TARGET[image]) ** 2).mean())


@pytest.mark.parametrize("returned", ["last", "best", "rescored"])
def test_before_and_after_of_the_images_as_they_are(returned: str) -> None:
    watched = Watched(TARGET)
    result = run(watched, returned=returned)
    looks = result.history.held_out
    assert [(look.image, look.place) for look in looks] == [(0, "given"), (1, "given"), (0, "returned"), (1, "returned")]
    for look in looks:
        noise = NOISE if look.place == "given" else result.noise
        assert look.loss == pytest.approx(distance(noise, look.image))
        assert look.objective == pytest.approx(look.loss)  # without the jitter of the iterations
        assert look.parts == {"distance": pytest.approx(math.sqrt(look.loss))}
    assert [asked[1:] for asked in watched.asked] == [(0, None, False, False)] * 4  # no augmentations and no gradient


def test_a_search_has_the_noise_it_started_from_as_well() -> None:
    result = run(Watched(TARGET), best_of=8)
    assert [look.place for look in result.history.held_out if look.image == 0] == ["given", "searched", "returned"]
    given, searched, _ = [look for look in result.history.held_out if look.image == 1]
    assert given.loss == pytest.approx(distance(NOISE, 1))
    assert searched.objective == pytest.approx(min(candidate.loss[1] for candidate in result.history.candidates))
    only = run(Watched(TARGET), best_of=8, iterations=0)
    assert [look.place for look in only.history.held_out if look.image == 0] == ["given", "returned"]


def test_it_changes_nothing_but_the_count() -> None:
    with_it, without = run(Watched(TARGET, -1.0), best_of=2, returned="rescored"), run(None, best_of=2, returned="rescored")
    assert torch.equal(with_it.noise, without.noise)
    assert [row.loss for row in with_it.history.rows] == [row.loss for row in without.history.rows]
    assert with_it.history.cost.evaluations == without.history.cost.evaluations + 12  # 2 images, 3 places, 2 objectives
    assert without.history.held_out == []
    assert panels_of(without.history)[-1].curves[0].points == []


def test_up_and_down_is_said() -> None:
    opposed = run(Watched(TARGET, -1.0))
    before, after = [look for look in opposed.history.held_out if look.image == 0]
    assert opposed.messages[0] == (
        f"Image 1: the loss that was optimized fell ({before.objective:.4g} to {after.objective:.4g}), but the held-out one rose "
        f"({before.loss:.4g} to {after.loss:.4g}): the first may have been fooled. Compare the images before you believe it."
    )
    assert len(opposed.messages) == 2
    assert run(Watched(TARGET)).messages == []
    assert run(Watched(TARGET, math.nan)).messages[0] == "Image 1: the held-out loss is not a finite number, so it says nothing."


def test_history_text_and_plot_have_it() -> None:
    history = run(Watched(TARGET)).history
    first, last = [look for look in history.held_out if look.image == 1]
    lines = history.to_text().split("Image 2")[1].splitlines()
    assert (
        f"held out, given: loss {first.loss:.5g}, distance {math.sqrt(first.loss):.5g} (that of the objective {first.objective:.5g})"
        in lines
    )
    assert panels_of(history)[-1].curves[1].points == [(0, first.loss), (3, last.loss)]
    assert json.loads(json.dumps(history.to_dict(), allow_nan=False))["held_out"][0]["place"] == "given"
