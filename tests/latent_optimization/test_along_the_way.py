"""Images along the way: of the right iterates, few, and beneath the curves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sgool.latent_optimization.along_the_way import GIVEN, SIDE, AlongTheWay, SmallImage
from sgool.latent_optimization.image_strip import image_strip
from sgool.latent_optimization.judged_images import JudgedImages
from sgool.latent_optimization.optimize import Result, optimize
from sgool.latent_optimization.plot_drawing import COLORS, WIDTH
from sgool.latent_optimization.recorder import Progress, Recorder
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.smoothing import Smoothing
from sgool.latent_optimization.top_k import TopK
from sgool.latent_optimization.trust_region import TrustRegion
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import linear_sampler, normal

IMAGES = 2


def run(count: int = 5, top_k: int = 1, **changes: Any) -> tuple[Result, AlongTheWay, dict[int, list[Tensor]]]:
    """A run whose latents are its images, and, independently, the latent of each iteration's own noise."""
    settings = Settings(**{"iterations": 6, "rule": NormalizedGradient(0.3), **changes})
    along, images = AlongTheWay(count), JudgedImages()
    target = normal(IMAGES, 3, 4, 4, seed=1)

    def told(progress: Progress) -> None:
        judged = images.taken(progress.phase)
        along.told(progress, recorder.history, {index: each.frames for index, each in judged.items()})

    recorder = Recorder(told)
    sampled: dict[int, list[Tensor]] = {}

    def evaluate(latent: Tensor, index: int, iteration: int, generator: torch.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        images.judged(index, latent)
        sampled.setdefault(index, []).append(latent.detach().clone())
        jitter = 0.0 if generator is None else 0.1 * torch.randn((), generator=generator)
        return ((latent - target[index] + jitter) ** 2).flatten(1).mean(1), {}

    def held_out(latent: Tensor, index: int, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        images.judged(index, latent)
        return latent.flatten(1).mean(1), {}

    def generate(noise: Tensor) -> Tensor:
        images.run_begins()
        return linear_sampler()(noise)

    noise = 0.3 * normal(IMAGES, 3, 4, 4)
    # The best images are kept too, for which each is scored once more.
    result = optimize(noise, generate, evaluate, settings, recorder=recorder, held_out=held_out, top=TopK(top_k))
    return result, along, sampled


def levels(latent: Tensor) -> Tensor:
    return (latent.float().clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("returned", ["last", "best", "rescored"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"best_of": 4},
        {"best_of": 4, "iterations": 0},
        {"iterations": 0},
        {"trust_region": TrustRegion(), "rule": NormalizedGradient(3.0)},
        {"smoothing": Smoothing(draws=2), "best_of": 3},
        {"iterations": 40},
        {"top_k": 3, "best_of": 4, "search_augmented": True},
        {"top_k": 3, "best_of": 4, "search_augmented": True, "iterations": 0},
    ],
    ids=lambda changes: " ".join(changes) or "plain",
)
def test_the_last_is_what_is_returned_and_the_others_came_before(changes: dict[str, Any], returned: str) -> None:
    result, along, _ = run(returned=returned, **changes)
    rows = along.chosen(result.history)
    assert len(rows) == IMAGES
    for index, row in enumerate(rows):
        assert torch.equal(row[-1].image, levels(result.latent[index]))
        assert [each.returned for each in row] == [False] * (len(row) - 1) + [True]
        numbers = [each.iteration for each in row]
        assert numbers[-1] == result.history.returned_iteration[index]
        assert numbers == sorted(set(numbers))
        assert numbers[0] == (GIVEN if result.history.started_from[index] else 0)
        assert 0 in numbers
        assert len([number for number in numbers if number >= 0]) <= 5


def test_the_first_are_of_the_noise_given_and_of_the_one_found() -> None:
    result, along, sampled = run(best_of=4)
    for index, row in enumerate(along.chosen(result.history)):
        # After the first candidate the objective is asked once more, beside the held-out one.
        candidates = sampled[index][0], sampled[index][2 : 2 + 3]
        begun = result.history.started_from[index]
        if begun:
            assert torch.equal(row[0].image, levels(candidates[0][0]))
            assert torch.equal(row[1].image, levels(candidates[1][begun - 1][0]))
        else:
            assert torch.equal(row[0].image, levels(candidates[0][0]))
    assert any(result.history.started_from)


def test_memory_is_bounded_and_off_keeps_nothing() -> None:
    _, along, _ = run(count=3, iterations=200)
    assert max(len(kept.evenly) for kept in along._kept.values()) <= 6
    result, along, _ = run(count=0)
    assert (along._kept, along.chosen(result.history)) == ({}, [])
    many = JudgedImages()
    for index in range(9):
        many.judged(index, torch.rand(1, 3, 8, 8))
    assert len(many.taken("search")) == 4
    assert many.taken("search") == {}


def test_large_images_are_made_small_and_of_a_video_the_middle_frame_is_shown() -> None:
    along = AlongTheWay(5)
    frames = torch.stack([torch.full((3, 4 * SIDE, 2 * SIDE), level) for level in (0.0, 0.2, 1.0)])
    result, other, _ = run(iterations=1)
    along.told(type("Told", (), {"phase": "optimize", "iteration": 0, "losses": [1.0]})(), result.history, {0: frames})  # type: ignore[arg-type]
    image = along._kept[0].evenly[0]
    assert (image.shape, image.dtype) == ((3, SIDE, SIDE // 2), torch.uint8)
    assert set(image.unique().tolist()) == {51}
    assert other.chosen(result.history)


def test_a_row_for_each_image_with_the_returned_one_framed_in_its_color() -> None:
    gray = torch.full((3, 64, 32), 128, dtype=torch.uint8)
    strip = image_strip([[SmallImage(GIVEN, gray), SmallImage(0, gray), SmallImage(3, gray, True)], [SmallImage(0, gray, True)]])
    assert strip is not None
    assert strip.width == WIDTH
    colors = {color for _, color in strip.getcolors(strip.width * strip.height) or []}
    assert {(128, 128, 128), *COLORS[:2]} <= colors
    assert COLORS[2] not in colors
    assert image_strip([]) is None
