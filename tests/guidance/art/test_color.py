"""Color: images of known hues; harmony against Cohen-Or's formula per pixel; the palette against scipy's Wasserstein distance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.color import lab_to_rgb
from scipy.stats import wasserstein_distance
from sgool.guidance.art.charts import draw_color
from sgool.guidance.art.color_rules import COLOR_RULES, DIRECTIONS, Palette, colors_of, hex_colors, sphere
from sgool.guidance.art.hues import BINS, TEMPLATES
from sgool.guidance.art.view import View, ViewObjective
from sgool.guidance.objective import Context, Objective
from torch import Tensor

from .images import disc, noise


def of_hues(*degrees: float, chroma: float = 30.0, lightness: float = 60.0) -> Tensor:
    """Vertical stripes of hues of CIELAB, equal parts, float64."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad().repeat_interleave(8)
    lab = torch.stack([torch.full_like(angles, lightness), chroma * angles.cos(), chroma * angles.sin()])
    return lab_to_rgb(lab[None, :, None, :].expand(1, 3, 12, -1), clip=False)


def objective(rule: str, saliency: Any = None, **options: Any) -> ViewObjective:
    return ViewObjective(rule, COLOR_RULES[rule](**options), saliency, draw_color)  # type: ignore[arg-type]


def score(images: Tensor, rule: str, saliency: Any = None, **options: Any) -> Tensor:
    return objective(rule, saliency, **options)(images, Context()).losses


@pytest.mark.parametrize(
    ("template", "hues"),
    [
        ("identical", (37, 40)),
        ("analogous", (200, 230, 280)),
        ("complementary", (30, 210)),
        ("split complementary", (80, 100, 140, 290)),
        ("double complementary", (10, 60, 200, 230)),
        ("right angle", (100, 190)),
        ("half wheel", (5, 90, 170)),
        ("triadic", (20, 140, 260)),
    ],
)
def test_hues_of_a_template_fit_it_and_others_do_not(template: str, hues: tuple[float, ...]) -> None:
    assert float(score(of_hues(*hues), "harmony", template=template)) < 0.01
    apart = of_hues(*(hues if template == "identical" else ()), *range(0, 360, 45))
    assert float(score(apart, "harmony", template=template)) > 0.03


def test_two_hues_half_a_wheel_apart_are_complementary_and_one_alone_is_so_only_as_published() -> None:
    sweep = [float(score(of_hues(30, 30 + apart), "harmony", template="complementary")) for apart in (180, 150, 120, 90)]
    assert sweep == sorted(sweep)
    assert sweep[0] < 0.01 < sweep[1] - 0.02
    alone = of_hues(30)
    assert float(score(alone, "harmony", template="complementary", least_share=0)) < 0.01
    assert float(score(alone, "harmony", template="complementary", least_share=0.15)) == pytest.approx(0.15, abs=0.01)


def published(image: Tensor, template: str) -> float:
    """Sum of arc distance times chroma over the sum of chroma, pixel by pixel, at the best of BINS rotations, over half the wheel."""
    lab = View(image, torch.ones_like(image[:, :1]), False).lab[0].numpy()
    hue, chroma = np.arctan2(lab[2], lab[1]) / (2 * np.pi), np.hypot(lab[1], lab[2])
    best = math.inf
    for turn in range(BINS):
        arcs = []
        for center, width in TEMPLATES[template]:
            away = np.abs((hue - center - turn / BINS + 0.5) % 1 - 0.5)
            arcs.append(np.maximum(away - width / 2, 0))
        best = min(best, float((np.min(arcs, axis=0) * 2 * chroma).sum() / chroma.size / (chroma.mean() + 0.01)))
    return best


@pytest.mark.parametrize("template", TEMPLATES)
def test_harmony_is_the_published_distance(template: str) -> None:
    image = noise(1, 20, 24, seed=3)
    # Distances are interpolated between bins of 5 degrees.
    assert float(score(image, "harmony", template=template, least_share=0)) == pytest.approx(published(image, template), abs=0.005)


def test_a_template_that_is_not_fitted_stays_at_its_hue() -> None:
    options = {"template": "identical", "fit": False, "hue": 120.0}
    assert float(score(of_hues(120), "harmony", **options)) < 0.01
    assert float(score(of_hues(210), "harmony", **options)) == pytest.approx((90 - 9) / 180, abs=0.02)


def test_the_palette_distance_is_the_mean_of_wasserstein_distances() -> None:
    image, colors = noise(1, 10, 12, seed=5), torch.rand(60, 3, generator=torch.Generator().manual_seed(1))
    palette = Palette(colors)
    view = View(image, torch.ones_like(image[:, :1]), False)
    have = view.lab[0].flatten(1).T
    wanted = View(colors.double().T.reshape(1, 3, 6, 10), torch.ones(1, 1, 6, 10).double(), False).lab[0].flatten(1).T
    slices = sphere(DIRECTIONS, have)
    one_way = [wasserstein_distance((have @ each).numpy(), (wanted @ each).numpy()) for each in slices]
    found = float(palette(view))
    assert found >= np.mean(one_way) - 1e-3  # of order two, which is at least that of order one
    order_two = [
        float(((have @ each).sort().values.view(60, 2) - (wanted @ each).sort().values[:, None]).square().mean()) for each in slices
    ]
    assert found == pytest.approx(math.sqrt(np.mean(order_two)), abs=1e-3)


def test_an_image_has_its_own_palette_at_any_size_and_a_shifted_one_less() -> None:
    image = noise(1, 24, 24).repeat_interleave(2, -1).repeat_interleave(2, -2)
    rule = Palette(colors_of(image))
    losses = [float(ViewObjective("palette", rule, None, draw_color)(image + shift, Context()).losses) for shift in (0, 0.03, 0.06)]
    assert losses[0] < 1e-3 < losses[1] < losses[2]
    turned = image.flip(-1)
    assert float(ViewObjective("palette", rule, None, draw_color)(turned, Context()).losses) == pytest.approx(losses[0], abs=1e-3)


def test_temperature_saturation_and_contrast_have_known_values() -> None:
    assert float(score(of_hues(60), "temperature")) == pytest.approx(1 - 0.3 / 0.31, abs=1e-3)
    assert float(score(of_hues(240), "temperature", wish="cold")) == pytest.approx(1 - 0.3 / 0.31, abs=1e-3)
    assert float(score(of_hues(240), "temperature")) == pytest.approx(1 + 0.3 / 0.31, abs=1e-3)
    assert float(score(of_hues(10, 200, 300), "saturation", chroma=0.3)) < 1e-3
    assert float(score(of_hues(10, 200, 300), "saturation", chroma=0.5)) == pytest.approx(0.2, abs=1e-3)
    white = disc(0.5, 0.5, 0.2)
    assert float(score(white, "subject contrast", white[:, 0], difference=1.5)) == pytest.approx(0.5, abs=0.05)
    assert float(score(white, "subject contrast", white[:, 0], difference=0.5)) == 0
    assert float(score(0 * white, "subject contrast", white[:, 0])) == pytest.approx(0.5, abs=1e-3)


def test_where_chooses_the_pixels() -> None:
    mask = torch.zeros(1, 12, 16)
    mask[..., :8] = 1
    image = of_hues(60, 240)
    assert float(score(image, "temperature", mask, where="subject")) < 0.1
    assert float(score(image, "temperature", mask, where="ground")) > 1.9


@pytest.mark.parametrize("rule", COLOR_RULES)
def test_gray_images_have_documented_values_and_finite_gradients(rule: str) -> None:
    known = {"harmony": 0.0, "temperature": 1.0, "saturation": 0.4}
    for level in (0.0, 0.5, 1.0):
        image = torch.full((1, 3, 8, 9), level).requires_grad_()
        losses = score(image, rule, torch.eye(8, 9)[None])
        (gradient,) = torch.autograd.grad(losses.sum(), image)
        assert bool(torch.isfinite(gradient).all())
        assert float(losses.detach()) == pytest.approx(known.get(rule, 0.5), abs=5e-3)


@pytest.mark.parametrize("rule", [*COLOR_RULES, "palette"])
def test_gradient_is_that_of_finite_differences(rule: str) -> None:
    mask = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(2))
    palette = ViewObjective("palette", Palette(hex_colors("#123456 #fa0")), None, draw_color)
    of = palette if rule == "palette" else objective(rule, mask)
    images = noise(2, 5, 6, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: of(x, Context()).losses, (images,), fast_mode=True, eps=1e-7, atol=1e-4)


@settings(max_examples=20)
@given(rule=st.sampled_from(list(COLOR_RULES)), shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)))
def test_a_batch_is_single_images_mirrored_or_not(rule: str, shape: tuple[int, int, int]) -> None:
    mask = torch.rand(shape[0], 1, *shape[1:], generator=torch.Generator().manual_seed(1)).double() + 0.01
    images = noise(*shape)
    of = objective(rule, mask)
    losses = of(images, Context()).losses
    assert bool(torch.isfinite(losses).all())
    assert isinstance(of, Objective)
    context = Context(index=shape[0] - 1, batch_size=shape[0])
    torch.testing.assert_close(losses[-1:], of(images[-1:], context).losses)
    torch.testing.assert_close(losses, objective(rule, mask.flip(-1))(images.flip(-1), Context()).losses)


def test_colors_are_read_and_others_are_refused() -> None:
    assert torch.equal(hex_colors("#ff0000, 0f0\n#00F;"), torch.eye(3))
    for make, words in (
        (lambda: hex_colors("#12345"), "'#12345' is not a color"),
        (lambda: Palette(hex_colors(" ")), "The palette has no colors"),
        (lambda: Palette(torch.eye(3), "sky"), "where is 'sky'"),
        (lambda: objective("subject contrast"), "connect a saliency model or a mask"),
        (lambda: objective("harmony", where="ground"), "connect a saliency model or a mask"),
        (lambda: objective("harmony", template="tetradic"), "template is 'tetradic'"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


@pytest.mark.parametrize("rule", COLOR_RULES)
def test_every_rule_can_be_drawn(rule: str) -> None:
    drawn = objective(rule, torch.eye(8)[None]).draw(noise(2, 32, 48).float(), Context())
    assert drawn.shape == (2, 3, 256, 384 + 256)
