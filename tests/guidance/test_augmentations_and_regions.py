"""Regions, augmentations and distances."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.guidance.augmentations import Augmentation, Augmentations
from sgool.guidance.distances import DISTANCES, one_minus_cosine, smooth_hinge, squared_great_circle
from sgool.guidance.regions import REGIONS, full_resolution, mass_window, multiply, peak_windows, soft_crop
from torch import Tensor
from torch.nn import functional

SIDES = st.integers(1, 40)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def units(*shape: int, seed: int = 0) -> Tensor:
    return functional.normalize(torch.randn(*shape, dtype=torch.float64, generator=generator(seed)), dim=-1)


@settings(max_examples=30, deadline=None)
@given(height=SIDES, width=SIDES, batch=st.integers(1, 3), region=st.sampled_from(list(REGIONS)))
def test_regions_keep_shape_and_range(height: int, width: int, batch: int, region: str) -> None:
    images = torch.rand(batch, 3, height, width, generator=generator(1))
    maps = torch.rand(batch, 1, height, width, generator=generator(2))
    shown = REGIONS[region](images, maps)
    assert shown.shape == images.shape
    assert shown.min() >= -1e-6
    assert shown.max() <= 1 + 1e-6
    torch.testing.assert_close(shown[:1], REGIONS[region](images[:1], maps[:1]))


@pytest.mark.parametrize("region", REGIONS)
def test_a_map_of_ones_shows_the_image(region: str) -> None:
    images = torch.rand(2, 3, 12, 17, dtype=torch.float64)
    torch.testing.assert_close(REGIONS[region](images, torch.ones(2, 1, 12, 17, dtype=torch.float64)), images)


@pytest.mark.parametrize("region", REGIONS)
def test_regions_are_differentiable_in_image_and_map(region: str) -> None:
    images = torch.rand(1, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    maps = torch.zeros(1, 1, 6, 7, dtype=torch.float64)
    maps[..., 2:5, 3:6] = torch.rand(3, 3, dtype=torch.float64) + 0.2
    assert torch.autograd.gradcheck(REGIONS[region], (images, maps.requires_grad_()))


def test_windows_lie_where_the_mass_is_and_never_twice_in_one_place() -> None:
    maps = torch.zeros(2, 1, 20, 30)
    maps[0, 0, 3:5, 20:22], maps[0, 0, 15:17, 2:4] = 1.0, 0.5
    maps[1, 0, 10, 10] = 1.0
    first, second = peak_windows(maps, (6, 8), 2)
    for window, (row, column) in zip([*first, second[0]], [(4, 21), (10, 10), (16, 3)], strict=True):
        top, left, bottom, right = window.tolist()
        assert top <= row < bottom
        assert left <= column < right
        assert (bottom - top, right - left) == (6, 8)


def test_windows_show_what_a_reward_reads_at_full_resolution() -> None:
    images, maps = torch.rand(1, 3, 40, 60, dtype=torch.float64, requires_grad=True), torch.zeros(1, 1, 40, 60, dtype=torch.float64)
    maps[..., 5:25, 10:40], maps[..., 25:35, 45:55] = 1.0, 0.5
    first, second = full_resolution(images, maps, 20)
    assert first.shape == second.shape == images.shape
    corner = functional.interpolate(images[..., 5:25, 10:40], (40, 60), mode="bilinear", antialias=True)
    torch.testing.assert_close(first[..., 2:-2, 2:-2], corner[..., 2:-2, 2:-2])  # at its border it reads a pixel further
    (gradient,) = torch.autograd.grad(second.sum(), images)
    assert gradient[..., 26:34, 46:54].min() > 0
    assert gradient[..., :14, :24].abs().max() == 0
    (whole,) = full_resolution(images, maps, 50)
    torch.testing.assert_close(whole, images)


def test_multiplying_leaves_what_is_not_salient_black() -> None:
    maps = torch.zeros(1, 1, 4, 4)
    maps[..., :2, :] = 1
    shown = multiply(torch.ones(1, 3, 4, 4), maps)
    assert shown[..., :2, :].eq(1).all()
    assert shown[..., 2:, :].eq(0).all()


def test_soft_crop_finds_the_box() -> None:
    maps = torch.zeros(2, 1, 40, 60, dtype=torch.float64)
    maps[0, :, 10:20, 30:45] = 1
    maps[1, :, 0:12, 0:18] = 1
    windows = mass_window(maps)
    torch.testing.assert_close(windows[0], torch.tensor([10.0, 30.0, 20.0, 45.0], dtype=torch.float64), atol=0.2, rtol=0)
    torch.testing.assert_close(windows[1], torch.tensor([0.0, 0.0, 12.0, 18.0], dtype=torch.float64), atol=0.2, rtol=0)
    images = torch.rand(2, 3, 40, 60, dtype=torch.float64)
    torch.testing.assert_close(soft_crop(images, torch.zeros_like(maps)), images)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(4, 80), width=st.integers(4, 80), cut_size=st.integers(1, 60), seed=st.integers(0, 1000), power=st.floats(0, 2))
def test_cutouts_are_squares_inside_the_image(height: int, width: int, cut_size: int, seed: int, power: float) -> None:
    for augmentation in Augmentations("cutouts", 5, cut_power=power).draw(height, width, cut_size, generator(seed)):
        assert augmentation.window is not None
        top, left, bottom, right = augmentation.window
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        assert min(height, width, cut_size) <= bottom - top == right - left <= min(height, width)
        assert augmentation(torch.rand(2, 3, height, width)).shape == (2, 3, augmentation.square, augmentation.square)


def test_cut_power_of_the_paper_prefers_large_cutouts() -> None:
    augmentations = Augmentations("cutouts", 2000, cut_power=0.3).draw(512, 512, 224, generator())
    sides = torch.tensor(
        [augmentation.window[2] - augmentation.window[0] for augmentation in augmentations if augmentation.window], dtype=torch.float64
    )
    # E[u^p] = 1 / (1 + p)
    assert sides.mean().item() == pytest.approx(224 + 288 / 1.3, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(2, 50), width=st.integers(2, 50), zoom=st.floats(0.1, 1), jitter=st.floats(0, 0.9), seed=st.integers(0, 1000))
def test_augmentations_begin_with_the_image(height: int, width: int, zoom: float, jitter: float, seed: int) -> None:
    images = torch.rand(2, 3, height, width)
    augmentations = Augmentations("augmented", 3, smallest_zoom=zoom, color_jitter=jitter).draw(height, width, 8, generator(seed))
    assert len(augmentations) == 4
    assert augmentations[0](images) is images
    for augmentation in augmentations[1:]:
        assert augmentation.window is not None
        assert not augmentation.mirrored
        assert min(augmentation.window[:2]) >= 0
        assert augmentation.window[2] <= height + 1e-9
        assert augmentation.window[3] <= width + 1e-9
        assert augmentation.window[2] - augmentation.window[0] >= zoom * height - 1e-9
        shown = augmentation(images)
        assert shown.shape == images.shape
        torch.testing.assert_close(shown[1:], augmentation(images[1:]))


def test_augmentations_come_from_the_generator_alone() -> None:
    sampler = Augmentations("augmented", 3, flip=True)
    before = torch.get_rng_state()
    first, same, other = (sampler.draw(20, 30, 8, generator(seed)) for seed in (1, 1, 2))
    assert first == same != other
    assert torch.equal(before, torch.get_rng_state())
    assert sampler.draw(20, 30, 8, None) == [Augmentation()]


def test_augmentations_are_differentiable() -> None:
    augmentation = Augmentation((0.5, 1.0, 4.5, 6.0), brightness=1.1, contrast=0.9, saturation=1.2, mirrored=True)
    assert torch.autograd.gradcheck(augmentation, (torch.rand(2, 3, 5, 6, dtype=torch.float64, requires_grad=True),))
    images = torch.rand(1, 3, 5, 6)
    torch.testing.assert_close(Augmentation(mirrored=True)(images), images.flip(-1))
    assert Augmentation(saturation=0.0)(images).std(dim=1).max() < 1e-6


@pytest.mark.parametrize("options", [{"kind": "all"}, {"count": 0}, {"cut_power": -1}, {"smallest_zoom": 0}, {"color_jitter": 1}])
def test_augmentations_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"it has to be|choose one"):
        Augmentations(**options)  # type: ignore[arg-type]


def test_great_circle_is_half_the_squared_angle() -> None:
    angles = torch.linspace(0, math.pi - 0.01, 50, dtype=torch.float64)
    first = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    second = torch.stack([angles.cos(), angles.sin()], dim=1)
    torch.testing.assert_close(squared_great_circle(first, second), angles**2 / 2)
    torch.testing.assert_close(one_minus_cosine(first, second), 1 - angles.cos())


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_have_gradients_everywhere(distance: str) -> None:
    function = DISTANCES[distance]
    first, second = units(5, 8).requires_grad_(), units(5, 8, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(function, (first, second))
    for factor in (1.0, -1.0):  # the same vector, the opposite one
        (gradient,) = torch.autograd.grad(function(first, factor * first.detach()).sum(), first)
        assert torch.isfinite(gradient).all()
    near = functional.normalize(first.detach() + 1e-6 * units(5, 8, seed=2), dim=-1)
    assert (function(first, near) >= 0).all()


def test_the_hinge_fades_out_below_zero_and_follows_the_largest_gap() -> None:
    assert smooth_hinge(torch.tensor([-1.0]), 100.0).item() < 1e-12
    assert smooth_hinge(torch.tensor([1.0]), 100.0).item() == pytest.approx(1)
    assert smooth_hinge(torch.tensor([0.0]), 100.0).item() == pytest.approx(math.log(2) / 100)
    assert smooth_hinge(torch.tensor([[0.5, 0.9]]), 100.0).tolist() == pytest.approx([0.9], abs=1e-3)
    gaps = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda g: smooth_hinge(g, 5.0), (gaps,))
