"""Texture by an encoder's features: the Gram matrix against loops, gradients against finite differences, on a small random network."""

from __future__ import annotations

import math

import pytest
import torch
from sgool.guidance.art.charts import draw_texture
from sgool.guidance.art.learned_texture import LearnedTexture, gram_matrix, middle_square
from sgool.guidance.art.view import ViewObjective
from sgool.guidance.objective import Context
from torch import Tensor, nn

from .images import noise
from .test_texture import strokes


class Encoder(nn.Module):
    """Two layers of patches, with weights from a seed; the second has a channel a hundred times as large, as transformers do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 5, 4, 4).double(), nn.Conv2d(5, 6, 1).double()

    def __call__(self, images: Tensor) -> list[Tensor]:  # type: ignore[override]
        first = self.first(images.double()).tanh()
        second = self.second(first).sin()
        return [first, torch.cat([100 * second[:, :1], second[:, 1:]], 1)]


def objective(references: Tensor, saliency: Tensor | None = None, **weights: float) -> ViewObjective:
    return ViewObjective("texture", LearnedTexture(Encoder(), references, **weights), saliency, draw_texture, 128)


def score(images: Tensor, of: ViewObjective) -> float:
    return float(of(images, Context()).losses.detach())


def test_the_distance_is_that_of_loops() -> None:
    reference, images, mask = noise(2, 12, 12, seed=1), noise(1, 12, 12, seed=2), torch.rand(1, 1, 12, 12, dtype=torch.float64)
    total, encoder = 0.0, Encoder()
    for layer in range(2):
        wanted, found = encoder(reference)[layer].detach(), encoder(images)[layer][0].detach()
        channels = wanted.shape[1]
        values = [[float(each) for image in wanted for each in image[channel].flatten()] for channel in range(channels)]
        means = [sum(each) / len(each) for each in values]
        deviations = [math.sqrt(sum((x - mean) ** 2 for x in each) / len(each)) for each, mean in zip(values, means, strict=True)]
        mass = torch.nn.functional.avg_pool2d(mask, 4)[0, 0]
        apart = whole = 0.0
        for a in range(channels):
            for b in range(channels):
                pairs = zip(values[a], values[b], strict=True)
                goal = sum((x - means[a]) * (y - means[b]) for x, y in pairs) / len(values[a]) / deviations[a] / deviations[b]
                gram = sum(
                    float(mass[row, column] / mass.sum())
                    * (float(found[a, row, column]) - means[a])
                    * (float(found[b, row, column]) - means[b])
                    / (deviations[a] * deviations[b])
                    for row in range(3)
                    for column in range(3)
                )
                apart, whole = apart + (gram - goal) ** 2, whole + goal**2
        total += apart / whole / 2
    assert score(images, objective(reference, mask, subject=1.0, ground=0.0)) == pytest.approx(total, rel=1e-4)


def test_gradient_is_that_of_finite_differences() -> None:
    of = objective(noise(1, 9, 8), torch.rand(1, 1, 10, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    images = noise(2, 10, 8, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: of(x, Context()).losses, (images,), fast_mode=True, eps=1e-7, atol=1e-4)


def test_a_texture_is_nearest_to_itself() -> None:
    of = objective(strokes(30, width=0.1))
    losses = [score(images, of) for images in (strokes(30, width=0.1), strokes(120, width=0.1), torch.full((1, 3, 120, 120), 0.5))]
    assert losses[0] < 1e-6 < losses[1]
    assert losses[2] > 0.3
    both = torch.cat([strokes(30, width=0.1)[..., :60], noise(1, 120, 60)], -1)
    mask = torch.zeros(1, 120, 120)
    mask[..., :60] = 1
    inside, outside, mixed = (
        score(both, objective(strokes(30, width=0.1), mask, subject=subject, ground=ground))
        for subject, ground in ((1.0, 0.0), (0.0, 1.0), (1.0, 3.0))
    )
    assert inside < 0.1 * outside
    assert mixed == pytest.approx((inside + 3 * outside) / 4)


def test_images_count_alone_and_a_flat_reference_gives_numbers() -> None:
    images = noise(3, 9, 15).requires_grad_()
    of = objective(torch.full((1, 3, 9, 30), 0.5))
    losses = of(images, Context()).losses
    (gradient,) = torch.autograd.grad(losses.sum(), images)
    assert bool(torch.isfinite(losses).all() and torch.isfinite(gradient).all())
    torch.testing.assert_close(losses[-1:], of(images[-1:], Context()).losses)
    assert middle_square(images).shape == (3, 3, 9, 9)
    with pytest.raises(ValueError, match="set one above zero"):
        LearnedTexture(Encoder(), images.detach(), 0.0, 0.0)


def test_a_gram_matrix_without_mass_is_even() -> None:
    maps = noise(1, 4, 5)
    torch.testing.assert_close(gram_matrix(maps, torch.zeros(1, 1, 8, 10)), gram_matrix(maps, torch.ones(1, 1, 4, 5)))
