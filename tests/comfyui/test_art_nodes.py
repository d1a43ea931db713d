"""The nodes of the art family, in a real ComfyUI."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.comfyui

from sgool.guidance.objective import Context, WeightedSum  # noqa: E402
from sgool.nodes import art  # noqa: E402

from ..guidance.art.images import disc  # noqa: E402
from .objectives import Red  # noqa: E402


def run(node: Any, **inputs: Any) -> Any:
    return node.execute(**inputs).result


def image_of(images: Tensor) -> Tensor:
    return images.movedim(1, -1).float()


def test_the_packs_own_saliency_finds_the_subject() -> None:
    (objective,) = run(art.CompositionNode, rule={"rule": "point", "x": 0.25, "y": 0.3})
    near, far = (objective(disc(x, y, 0.08).float(), Context()).losses for x, y in ((0.25, 0.3), (0.7, 0.6)))
    assert float(near) < 0.1 < float(far)
    images = disc(0.5, 0.5).float().requires_grad_()
    with torch.inference_mode(), torch.inference_mode(False):
        (gradient,) = torch.autograd.grad(objective(images, Context()).losses.sum(), images)
    assert gradient.abs().sum() > 0


def test_a_mask_is_the_subject() -> None:
    mask = disc(1 / 3, 1 / 3)[:, 0].float()
    (objective,) = run(art.CompositionNode, rule={"rule": "rule of thirds", "point": "upper left"}, mask=mask)
    assert float(objective(torch.rand(1, 3, 60, 80), Context()).losses) < 1e-3


def test_any_objective_says_its_numbers_about_finished_images() -> None:
    images = torch.cat([image_of(disc(x, 0.5)) for x in (0.2, 0.5)])
    (composition,) = run(art.CompositionNode, rule={"rule": "centered"}, mask=torch.cat([disc(x, 0.5)[:, 0].float() for x in (0.2, 0.5)]))
    mean, losses, table, drawn = run(art.ObjectiveScore, objective=WeightedSum([(1.0, composition), (2.0, Red())]), images=images)
    red = Red()(images.movedim(-1, 1), Context()).losses
    expected = torch.tensor([0.3 * 0.8, 0.0]) + 2 * red
    torch.testing.assert_close(torch.tensor(losses), expected, atol=5e-3, rtol=0)
    assert mean == pytest.approx(sum(losses) / 2)
    assert "centered" in table
    assert len(table.splitlines()) == 4
    assert drawn.shape == (2, 180, 240, 3)
    *_, plain = run(art.ObjectiveScore, objective=Red(), images=images)
    torch.testing.assert_close(plain, images.round(decimals=2), atol=0.01, rtol=0)


def test_gray_and_transparent_images_are_taken() -> None:
    (objective,) = run(art.CompositionNode, rule={"rule": "symmetry"})
    for channels in (1, 4):
        mean, *_ = run(art.ObjectiveScore, objective=objective, images=torch.rand(1, 20, 30, channels))
        assert 0 <= mean <= 2


@pytest.mark.parametrize("rule", ["harmony", "palette", "temperature", "saturation", "subject contrast"])
def test_color_without_a_subject_finds_its_own_where_it_needs_one(rule: str) -> None:
    where = {"palette": {"colors": "#ff0000 #0000ff", "where": "ground"}}
    (objective,) = run(art.ColorNode, rule={"rule": rule, **where.get(rule, {})})
    images = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(objective(images, Context()).losses.sum(), images)
    assert bool(torch.isfinite(gradient).all())


def test_a_reference_of_another_size_with_alpha_is_a_palette() -> None:
    image = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    reference = torch.cat([image_of(image), torch.zeros(1, 24, 32, 1)], -1).repeat_interleave(2, 1)
    (objective,) = run(art.ColorNode, rule={"rule": "palette", "colors": "", "where": "image"}, reference=reference)
    assert float(objective(image, Context()).losses) < 0.02
    with pytest.raises(ValueError, match="no colors"):
        run(art.ColorNode, rule={"rule": "palette", "colors": "", "where": "image"})


def test_depth_says_what_is_near() -> None:
    near = image_of(disc(0.5, 0.5, 0.3))
    (objective,) = run(art.LightNode, rule={"rule": "back light", "difference": 0.5}, depth=near)
    assert float(objective(1 - disc(0.5, 0.5, 0.3).float(), Context()).losses) == 0
    assert float(objective(disc(0.5, 0.5, 0.3).float(), Context()).losses) > 1


def test_texture_of_references_by_part_and_strokes() -> None:
    reference = torch.rand(2, 40, 30, 4, generator=torch.Generator().manual_seed(0))
    images = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for subject_weight, given in ((1.0, False), (2.0, True)):
        rule = {"rule": "reference", "subject_weight": subject_weight, "ground_weight": 1.0}
        (objective,) = run(art.TextureNode, rule=rule, reference=reference)
        assert objective.subject.given is given
        (gradient,) = torch.autograd.grad(objective(images, Context()).losses.sum(), images)
        assert bool(torch.isfinite(gradient).all())
    (objective,) = run(art.TextureNode, rule={"rule": "stroke direction", "angle": 30.0, "where": "image"})
    assert not objective.subject.given
    with pytest.raises(ValueError, match="connect an image to reference"):
        run(art.TextureNode, rule={"rule": "reference", "subject_weight": 1.0, "ground_weight": 1.0})
    with pytest.raises(ValueError, match="set one above zero"):
        run(art.TextureNode, rule={"rule": "reference", "subject_weight": 0.0, "ground_weight": 0.0}, reference=reference)
