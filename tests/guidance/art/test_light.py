"""Light: ramps, steps and rims whose measures can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.color import lab_to_rgb
from sgool.guidance.art.charts import draw_light
from sgool.guidance.art.light_rules import COMPASS, LIGHT_RULES
from sgool.guidance.art.view import ViewObjective
from sgool.guidance.objective import Context
from torch import Tensor

from .images import disc, grid, noise


def of_lightness(lightness: Tensor) -> Tensor:
    """Gray images of CIELAB lightness ``(h, w)`` in [0, 1]."""
    lab = torch.stack([100 * lightness, 0 * lightness, 0 * lightness])
    return lab_to_rgb(lab[None])


def objective(rule: str, saliency: Any = None, **options: Any) -> ViewObjective:
    return ViewObjective(rule, LIGHT_RULES[rule](**options), saliency, draw_light)  # type: ignore[arg-type]


def score(images: Tensor, rule: str, saliency: Any = None, **options: Any) -> float:
    return float(objective(rule, saliency, **options)(images, Context()).losses)


@pytest.mark.parametrize(("number", "direction"), list(enumerate(COMPASS)))
def test_a_half_plane_lit_from_a_side_is_lit_from_there(number: int, direction: str) -> None:
    x, y = grid(40, 40)
    angle = math.pi - number * math.pi / 4
    lit = of_lightness(0.2 + 0.6 * ((x - 0.5) * math.cos(angle) - (y - 0.5) * math.sin(angle) > 0).double())
    assert score(lit, "key direction", direction=direction) < 0.01
    assert score(lit, "key direction", direction=COMPASS[(number + 4) % 8]) > 1.99
    assert score(lit, "key direction", direction=COMPASS[(number + 2) % 8]) == pytest.approx(1, abs=0.05)  # pixels on the border
    sweep = [score(lit, "key direction", direction=COMPASS[(number + turn) % 8]) for turn in range(5)]
    assert sweep == sorted(sweep)
    assert score(0.5 * lit, "key direction", direction=direction) < 0.01


def test_the_light_on_the_subject_counts_where_one_is_given() -> None:
    x, y = grid(40, 40)
    subject = ((x - 0.7) ** 2 + (y - 0.5) ** 2 < 0.04).double()
    lit = of_lightness(torch.where(subject > 0, 0.9 - 0.6 * x, x))
    assert score(lit, "key direction", subject[None], direction="left") < 0.05
    assert score(lit, "key direction", direction="left") > 1


def test_back_light_and_rim_are_differences_of_lightness() -> None:
    x, y = grid(60, 60)
    away = ((x - 0.5) ** 2 + (y - 0.5) ** 2).sqrt()
    subject = (away < 0.3).double()
    against = of_lightness(0.7 - 0.5 * subject)
    assert score(against, "back light", subject[None], difference=0.8) == pytest.approx(0.3, abs=0.01)
    assert score(against, "back light", subject[None], difference=0.4) == 0
    assert score(of_lightness(0.2 + 0.5 * subject), "back light", subject[None], difference=0.3) == pytest.approx(0.8, abs=0.01)
    sweep = []
    for rim in (0.6, 0.4, 0.2, 0.0):
        lit = of_lightness(0.2 + rim * ((away > 0.22) & (away < 0.3)).double())
        sweep.append(score(lit, "rim light", subject[None], difference=0.5))
    assert sweep == sorted(sweep)
    assert sweep[-1] == pytest.approx(0.5, abs=1e-3)
    assert sweep[0] < 0.1


def test_an_edge_is_as_hard_as_its_step() -> None:
    for width, expected in ((1, 0.6), (6, 0.1), (12, 0.05)):
        passage = of_lightness(0.2 + 0.6 * ((torch.arange(40) - 14).double() / width).clamp(0, 1).expand(40, 40))
        assert score(passage, "shadows") == pytest.approx(expected, abs=0.01)
        assert score(passage, "shadows", wish="hard") == pytest.approx(1 - expected, abs=0.01)


def test_key_and_exposure_of_even_light() -> None:
    for level in (0.0, 0.3, 0.5, 1.0):
        even = of_lightness(torch.full((10, 10), level, dtype=torch.float64))
        assert score(even, "key") == pytest.approx(level, abs=1e-3)
        assert score(even, "key", wish="high key") == pytest.approx(1 - level, abs=1e-3)
        assert score(even, "exposure") == pytest.approx(1 - math.exp(-((level - 0.5) ** 2) / 0.08), abs=1e-3)


@pytest.mark.parametrize("rule", LIGHT_RULES)
def test_gradient_is_that_of_finite_differences(rule: str) -> None:
    mask = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(2))
    of = objective(rule, mask)
    images = noise(2, 6, 7, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: of(x, Context()).losses, (images,), fast_mode=True, eps=1e-7, atol=1e-4)


@settings(max_examples=25)
@given(
    rule=st.sampled_from(list(LIGHT_RULES)),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    level=st.sampled_from([None, 0.0, 0.5, 1.0]),
)
def test_losses_and_gradients_are_finite_and_those_of_single_images(rule: str, shape: tuple[int, int, int], level: float | None) -> None:
    mask = torch.rand(shape[0], 1, *shape[1:], generator=torch.Generator().manual_seed(1)).double() + 0.01
    images = (noise(*shape) if level is None else torch.full((shape[0], 3, *shape[1:]), level, dtype=torch.float64)).requires_grad_()
    losses = objective(rule, mask)(images, Context()).losses
    (gradient,) = torch.autograd.grad(losses.sum(), images)
    assert bool(torch.isfinite(losses).all() and torch.isfinite(gradient).all())
    alone = objective(rule, mask)(images[-1:], Context(index=shape[0] - 1, batch_size=shape[0])).losses
    torch.testing.assert_close(losses[-1:], alone)


def test_a_flat_image_has_no_direction_and_a_rule_that_needs_a_subject_says_so() -> None:
    assert score(torch.full((1, 3, 9, 9), 0.4), "key direction") == pytest.approx(1, abs=1e-3)
    for rule in ("back light", "rim light"):
        with pytest.raises(ValueError, match="connect a saliency model or a mask"):
            objective(rule)
    with pytest.raises(ValueError, match="direction is 'behind'"):
        objective("key direction", direction="behind")


@pytest.mark.parametrize("rule", LIGHT_RULES)
def test_every_rule_can_be_drawn(rule: str) -> None:
    drawn = objective(rule, disc(0.4, 0.4)[:, 0]).draw(noise(2, 60, 80).float(), Context())
    assert drawn.shape == (2, 3, 256, 2 * round(80 * 256 / 60))
