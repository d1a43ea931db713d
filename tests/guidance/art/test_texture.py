"""Texture: gratings of known direction and width; the Gram matrix against a transcription by loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.guidance.art.charts import draw_texture
from sgool.guidance.art.texture_rules import SIDE, STROKE_RULES, TextureStatistics, gram_matrices
from sgool.guidance.art.view import ViewObjective
from sgool.guidance.objective import Context
from torch import Tensor

from .images import grid, noise


def strokes(degrees: float, width: float = 0.05, size: int = 120) -> Tensor:
    """A sine whose crests run at an angle (counterclockwise, 0 is flat) and are ``width`` of the side wide: gray, float64."""
    x, y = grid(size, size)
    angle = math.radians(degrees)
    phase = (x * math.sin(angle) + y * math.cos(angle)) * math.pi / width
    return (0.5 + 0.2 * phase.sin()).expand(1, 3, size, size).clone()


def objective(rule: str, saliency: Any = None, **options: Any) -> ViewObjective:
    return ViewObjective(rule, STROKE_RULES[rule](**options), saliency, draw_texture, SIDE)  # type: ignore[arg-type]


def score(images: Tensor, rule: str, saliency: Any = None, **options: Any) -> float:
    return float(objective(rule, saliency, **options)(images, Context()).losses)


def of_texture(references: Tensor, saliency: Any = None, **weights: float) -> ViewObjective:
    return ViewObjective("texture", TextureStatistics(references, **weights), saliency, draw_texture, SIDE)


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135, 150])
def test_strokes_at_an_angle_run_at_that_angle(angle: float) -> None:
    losses = [score(strokes(angle), "stroke direction", angle=(angle + turn) % 180) for turn in (0, 30, 60, 90)]
    assert losses == sorted(losses)
    assert losses[0] < 0.03
    assert losses[-1] > 0.97
    mirrored = strokes(angle).flip(-1)
    assert score(mirrored, "stroke direction", angle=(180 - angle) % 180) == pytest.approx(losses[0], abs=1e-6)


def test_strokes_have_their_width() -> None:
    for width in (0.04, 0.08):
        assert score(strokes(20, width), "stroke width", width=width) < 0.1
        assert score(strokes(20, width), "stroke width", width=2 * width) == pytest.approx(math.log(2), abs=0.1)
        assert score(0.5 * strokes(20, width), "stroke width", width=width) < 0.1
    sweep = [score(strokes(20, 0.05), "stroke width", width=width) for width in (0.05, 0.07, 0.1, 0.2)]
    assert sweep == sorted(sweep)


def test_flat_images_have_documented_values() -> None:
    flat = torch.full((1, 3, 20, 20), 0.4, dtype=torch.float64)
    assert score(flat, "stroke direction") == pytest.approx(0.5, abs=1e-3)
    assert score(flat, "stroke width") < 0.01


def test_where_chooses_the_strokes() -> None:
    both = torch.cat([strokes(0)[..., :60], strokes(90)[..., 60:]], -1)
    mask = torch.zeros(1, 120, 120)
    mask[..., :60] = 1
    assert score(both, "stroke direction", mask, angle=0.0, where="subject") < 0.1
    assert score(both, "stroke direction", mask, angle=0.0, where="ground") > 0.9


def test_the_gram_matrix_is_the_weighted_mean_of_products() -> None:
    images, weights = noise(1, 8, 9), torch.rand(1, 8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = weights / weights.sum()
    gram = gram_matrices(images, weights)[0][0]
    filters = torch.randn(32, 3, 7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    filters = filters - filters.mean((2, 3), keepdim=True)
    expected = torch.zeros(32, 32, dtype=torch.float64)
    for row in range(8):
        for column in range(9):
            rows = [min(max(row + step, 0), 7) for step in range(-3, 4)]
            columns = [min(max(column + step, 0), 8) for step in range(-3, 4)]
            patch = images[0][:, rows][:, :, columns]
            answer = torch.stack([(each / each.norm() * patch).sum() for each in filters]).clamp(min=0)
            expected += weights[0, row, column] * torch.outer(answer, answer)
    torch.testing.assert_close(gram, expected)


def test_a_texture_is_nearest_to_itself() -> None:
    reference = strokes(30)
    losses = [float(of_texture(reference)(images, Context()).losses) for images in (reference, strokes(40), strokes(60), strokes(120))]
    assert losses[0] < 1e-6
    assert losses[0] < losses[1] < losses[2] <= losses[3] + 0.05
    assert float(of_texture(reference)(strokes(30) + 0.1, Context()).losses) < 1e-3  # light does not matter
    larger = float(of_texture(strokes(30, size=240))(reference, Context()).losses)
    assert larger < 0.1 * losses[2]


def test_subject_and_ground_have_weights_of_their_own() -> None:
    both = torch.cat([strokes(0)[..., :60], strokes(90)[..., 60:]], -1)
    mask = torch.zeros(1, 120, 120)
    mask[..., :60] = 1
    inside, outside, mixed = (
        float(of_texture(strokes(0), mask, subject=subject, ground=ground)(both, Context()).losses)
        for subject, ground in ((1.0, 0.0), (0.0, 1.0), (1.0, 3.0))
    )
    assert inside < 0.2 < outside
    assert mixed == pytest.approx((inside + 3 * outside) / 4)
    for weights in ((0.0, 0.0), (-1.0, 2.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="set one above zero"):
            TextureStatistics(strokes(0), *weights)


@pytest.mark.parametrize("spread", [0.0, 1 / 255, 0.05])
def test_a_reference_without_texture_is_refused(spread: float) -> None:
    flat = 0.5 + spread * torch.linspace(0, 1, 96).expand(1, 3, 96, 96)
    with pytest.raises(ValueError, match="of one color, or nearly so"):
        of_texture(flat)
    of_texture(torch.cat([flat, strokes(30, size=96).float()]))


@pytest.mark.parametrize("rule", [*STROKE_RULES, "texture"])
def test_gradient_is_that_of_finite_differences(rule: str) -> None:
    mask = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(2))
    of = of_texture(noise(2, 8, 8), mask) if rule == "texture" else objective(rule, mask)
    images = noise(2, 6, 7, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: of(x, Context()).losses, (images,), fast_mode=True, eps=1e-7, atol=1e-4)


@settings(max_examples=20)
@given(
    rule=st.sampled_from([*STROKE_RULES, "texture"]),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    level=st.sampled_from([None, 0.0, 1.0]),
)
def test_losses_and_gradients_are_finite_and_those_of_single_images(rule: str, shape: tuple[int, int, int], level: float | None) -> None:
    images = (noise(*shape) if level is None else torch.full((shape[0], 3, *shape[1:]), level, dtype=torch.float64)).requires_grad_()
    of = of_texture(noise(1, 9, 30)) if rule == "texture" else objective(rule)
    losses = of(images, Context()).losses
    (gradient,) = torch.autograd.grad(losses.sum(), images)
    assert bool(torch.isfinite(losses).all() and torch.isfinite(gradient).all())
    torch.testing.assert_close(losses[-1:], of(images[-1:], Context()).losses)


def test_what_was_measured_can_be_drawn() -> None:
    assert objective("stroke width").draw(noise(2, 30, 40).float(), Context()).shape == (2, 3, 256, 2 * 341)
