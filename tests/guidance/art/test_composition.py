"""Composition: discs and boxes at known places; APB against the program of the Aesthetics Toolbox, transcribed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.guidance.art.balance import center_deviation, preference_for_balance
from sgool.guidance.art.composition import Composition
from sgool.guidance.art.composition_rules import RULES, Box, LeadRoom, Rule
from sgool.guidance.art.subject import mass_of, moments
from sgool.guidance.drawn import drawing
from sgool.guidance.objective import Context, Objective, WeightedSum
from torch import Tensor

from .images import box, bright, disc, noise

GOLDEN = 2 / (3 + math.sqrt(5))


def score(images: Tensor, rule: str, saliency: Any = bright, **options: Any) -> Tensor:
    return Composition(RULES[rule](**options), saliency)(images, Context()).losses


def test_center_and_spread_of_a_box_are_those_of_the_formula_at_any_resolution() -> None:
    for size in ((60, 80), (120, 40)):
        center, spread = moments(mass_of(box(0.25, 0.1, 0.75, 0.5, size)[:, :1]))
        torch.testing.assert_close(center, torch.tensor([[0.5, 0.3]], dtype=torch.float64), atol=1e-4, rtol=0)
        torch.testing.assert_close(spread * math.sqrt(12), torch.tensor([[0.5, 0.4]], dtype=torch.float64), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("rule", "options", "place"),
    [
        ("rule of thirds", {}, (1 / 3, 2 / 3)),
        ("rule of thirds", {"point": "upper right"}, (2 / 3, 1 / 3)),
        ("rule of thirds", {"point": "lower line"}, (0.2, 2 / 3)),
        ("rule of thirds", {"point": "left line"}, (1 / 3, 0.8)),
        ("golden section", {}, (1 - GOLDEN, GOLDEN)),
        ("golden section", {"point": "lower left"}, (GOLDEN, 1 - GOLDEN)),
        ("centered", {}, (0.5, 0.5)),
        ("point", {"x": 0.2, "y": 0.7}, (0.2, 0.7)),
        ("balance", {}, (0.5, 0.5)),
    ],
)
def test_a_disc_on_the_place_has_no_loss_and_farther_away_has_more(rule: str, options: dict[str, Any], place: tuple[float, float]) -> None:
    away = 0.0 if "line" in str(options) else 0.04
    steps = [(0.0, 0.0), (away or 0.04, away), (2 * (away or 0.04), 2 * away)]
    if options.get("point") == "lower line":
        steps = [(b, a) for a, b in steps]
    losses = [float(score(disc(place[0] + dx, place[1] + dy, size=(120, 160)), rule, **options)) for dx, dy in steps]
    assert losses[0] < 1e-3
    assert losses[0] < losses[1] < losses[2]


def test_distances_are_in_diagonals() -> None:
    found = float(score(disc(0.5, 0.5, size=(60, 80)), "point", x=0.8, y=0.5))
    assert found == pytest.approx(0.3 * 80 / 100, abs=2e-3)  # sides 3 : 4, diagonal 5


def test_rules_of_edges_and_size_on_a_box() -> None:
    image = box(0.1, 0.2, 0.4, 0.7)
    assert float(score(image, "head room", room=0.2)) < 2e-3
    assert float(score(image, "head room", room=0.5)) == pytest.approx(0.3, abs=2e-3)
    assert float(score(image, "lead room", facing="right", share=0.6 / 0.7)) < 0.01
    assert float(score(image, "lead room", facing="left", share=0.6 / 0.7)) == pytest.approx(0.5 / 0.7, abs=0.02)
    assert float(score(image, "subject size", size=0.15)) < 0.01
    assert float(score(image, "subject size", size=0.3)) == pytest.approx(math.log(2), abs=0.01)
    assert float(score(image, "box", left=0.05, top=0.1, right=0.5, bottom=0.8)) < 1e-2
    assert float(score(image, "box", left=0.25, top=0.0, right=1.0, bottom=1.0)) == pytest.approx(0.5, abs=0.01)


def test_diagonals_symmetry_and_their_opposites() -> None:
    falling = torch.zeros(1, 3, 60, 60, dtype=torch.float64)
    falling[..., torch.arange(60), torch.arange(60)] = 1
    assert float(score(falling, "diagonal", direction="falling")) < 2e-3
    assert float(score(falling, "diagonal", direction="rising")) == pytest.approx(0.5 / 2, abs=0.01)  # mean of |1 - 2 x| / 2
    assert float(score(falling, "diagonal")) < 2e-3
    even = noise(1, 20, 30)
    assert float(score(torch.cat([even, even.flip(-1)], -1), "symmetry")) < 1e-9
    ramp = torch.linspace(0, 1, 40, dtype=torch.float64).expand(1, 3, 30, 40)
    assert float(score(ramp, "symmetry")) == pytest.approx(2, abs=0.01)
    assert float(score(ramp, "symmetry", axis="top and bottom")) < 1e-9
    torch.testing.assert_close(score(0.5 + 0.3 * even, "symmetry"), score(even, "symmetry"), atol=0.03, rtol=0)


def apb_of_the_toolbox(weight: np.ndarray) -> float:
    """``Balance`` of RBartho/Aesthetics-Toolbox for a square image of a side divisible by 4, after its choice of figure and ground."""
    n, total = len(weight), weight.sum()

    def half(weight: np.ndarray) -> list[float]:
        first, outer = weight[:, : n // 2].sum(), weight[:, : n // 4].sum() + weight[:, -(n // 4) :].sum()
        return [abs(total - 2 * first), abs(total - 2 * outer)]

    def across(weight: np.ndarray) -> list[float]:
        border = n - int(n / math.sqrt(2))
        outer = np.tril(weight, -border).sum() + np.triu(weight, border).sum()
        return [abs(np.triu(weight, 1).sum() - np.tril(weight, -1).sum()), abs(total - 2 * outer)]

    differences = half(weight) + half(weight.T) + across(weight) + across(np.rot90(weight))
    return sum(differences) / total / 8


@pytest.mark.parametrize("side", [8, 64])
def test_preference_for_balance_is_that_of_the_toolbox(side: int) -> None:
    weight = torch.rand(3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(side)) ** 3
    found = preference_for_balance(weight / weight.sum(dim=(1, 2), keepdim=True))
    assert found.tolist() == pytest.approx([apb_of_the_toolbox(each.numpy()) for each in weight], abs=1e-5)


def test_center_deviation_is_hubners_percentage() -> None:
    weight = torch.zeros(1, 40, 40, dtype=torch.float64)
    weight[0, 19:21, 39] = 0.5
    assert float(center_deviation(weight).sqrt()) == pytest.approx((39.5 / 40 - 0.5) / 0.5)


@pytest.mark.parametrize("rule", RULES)
def test_gradient_is_that_of_finite_differences(rule: str) -> None:
    images = noise(2, 6, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: score(x, rule), (images,), fast_mode=True)


@settings(max_examples=40)
@given(
    rule=st.sampled_from(list(RULES)),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24)),
    what=st.sampled_from(["noise", "flat", "black"]),
)
def test_losses_are_finite_and_those_of_single_images(rule: str, shape: tuple[int, int, int], what: str) -> None:
    images = noise(*shape) if what == "noise" else torch.full((shape[0], 3, *shape[1:]), 0.0 if what == "black" else 0.4).double()
    images.requires_grad_()
    losses = score(images, rule)
    (gradient,) = torch.autograd.grad(losses.sum(), images, allow_unused=True)
    assert losses.shape == (shape[0],)
    assert bool(torch.isfinite(losses).all())
    assert gradient is None or bool(torch.isfinite(gradient).all())
    assert float(losses.detach().min()) > -1e-3
    torch.testing.assert_close(losses[-1:], score(images[-1:], rule))


@pytest.mark.parametrize("rule", [name for name in RULES if name not in ("box", "lead room", "head room", "point")])
def test_mirroring_changes_nothing_where_no_side_is_named(rule: str) -> None:
    images = noise(1, 40, 56)
    torch.testing.assert_close(score(images, rule), score(images.flip(-1), rule), atol=1e-6, rtol=1e-5)


def test_named_sides_mirror() -> None:
    images = noise(1, 40, 56)
    mirrored = images.flip(-1)
    for rule, name, one, other in (("rule of thirds", "point", "upper left", "upper right"), ("lead room", "facing", "left", "right")):
        torch.testing.assert_close(score(images, rule, **{name: one}), score(mirrored, rule, **{name: other}))


@pytest.mark.parametrize("rule", RULES)
def test_brightness_and_resolution_hardly_matter(rule: str) -> None:
    image = disc(0.4, 0.3, 0.2, (48, 64))
    larger = disc(0.4, 0.3, 0.2, (96, 128))
    assert float(score(image, rule)) == pytest.approx(float(score(0.5 * image, rule)), abs=2e-3)
    assert float(score(image, rule)) == pytest.approx(float(score(larger, rule)), abs=0.03)


def test_a_flat_map_has_its_center_in_the_middle() -> None:
    flat = torch.full((1, 3, 30, 30), 0.3, dtype=torch.float64)
    assert float(score(flat, "centered")) < 1e-6
    assert float(score(flat, "preference for balance")) < 0.01  # pixels on the borders


def test_a_mask_is_scored_but_not_optimized() -> None:
    mask = box(0.1, 0.2, 0.4, 0.7)[:, 0]
    images = noise(1, 20, 30).requires_grad_()
    objective = Composition(RULES["subject size"](size=0.15), mask)  # type: ignore[call-arg]
    assert isinstance(objective, Objective)
    assert float(objective(images.detach(), Context()).losses) < 0.1  # resized to 20 x 30
    with pytest.raises(ValueError, match="nothing to optimize"):
        objective(images, Context())
    assert Composition(RULES["symmetry"](), mask)(images, Context()).losses.requires_grad


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RULES["point"](x=1.2), "x is 1.2; it has to be at least 0 and at most 1"),  # type: ignore[call-arg]
        (lambda: Box(left=0.6, right=0.5), "no area"),
        (lambda: LeadRoom(facing="up"), "facing is 'up'"),
        (lambda: Composition(RULES["centered"](), bright, focus=0), "focus is 0"),
        (lambda: Composition(RULES["centered"](), torch.zeros(1, 4, 4)), "nothing in it is above zero"),
        (lambda: Composition(RULES["centered"](), torch.ones(4)), "The mask has the shape"),
        (lambda: Composition(RULES["centered"](), torch.full((1, 4, 4), math.nan)), "NaN"),
        (lambda: Composition(RULES["centered"](), bright)(torch.ones(3, 4, 4), Context()), "The images have the shape"),
    ],
)
def test_what_cannot_be_is_said(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_can_be_drawn(rule: str) -> None:
    objective = Composition(RULES[rule](), bright)
    drawn = objective.draw(noise(2, 64, 48), Context())
    assert drawn.shape == (2, 3, 256, 192)
    assert drawn.min() >= 0 and drawn.max() <= 1  # noqa: PT018
    assert isinstance(objective.rule, Rule)
    both = drawing(WeightedSum([(1, objective), (2, objective)]), noise(1, 64, 48), Context())
    assert both.shape == (1, 3, 256, 384)
