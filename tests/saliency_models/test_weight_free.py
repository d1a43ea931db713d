"""What every predictor without weights must be, tested for each of them in the registry."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.saliency_models import registry
from sgool.saliency_models.graph_based import FAINT, node_degrees
from skimage import data
from torch import Tensor

NAMES = [entry.name for entry in registry.available() if not entry.needs_weights]
CONSTANT = {"center-prior"}  # does not look at the image
CENTERED = {"default", "center-prior"}  # have a Gaussian where nothing stands out


def photograph(name: str) -> Tensor:
    image = torch.from_numpy(getattr(data, name)()).float() / 255
    return (image[..., None] if image.dim() == 2 else image).permute(2, 0, 1)[None]


def some(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (3, 5), (8, 8), (64, 17), (5, 300)])
def test_any_size_gives_a_finite_map_of_that_size(name: str, size: tuple[int, int]) -> None:
    maps = registry.load(name)(some(2, 3, *size))
    assert maps.shape == (2, 1, *size)
    assert torch.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_huge_image_works_on_a_small_copy(name: str) -> None:
    maps = registry.load(name)(photograph("chelsea").repeat(1, 1, 2, 10)[:, :, :600, :4096])
    assert maps.shape == (1, 1, 600, 4096)
    assert torch.isfinite(maps).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(st.tuples(st.integers(1, 3), st.sampled_from([1, 3, 4]), st.integers(1, 40), st.integers(1, 40)), st.integers(0, 1000))
def test_each_image_of_a_batch_is_predicted_alone(name: str, shape: tuple[int, int, int, int], seed: int) -> None:
    model = registry.load(name)
    images = some(*shape, seed=seed)
    together = model(images)
    alone = torch.cat([model(image[None]) for image in images])
    assert together.shape == (shape[0], 1, *shape[2:])
    assert 0 <= together.min() <= together.max() <= 1
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_image_has_nothing_that_stands_out(name: str, value: float) -> None:
    image = torch.full((1, 3, 48, 64), value, requires_grad=True)
    maps = registry.load(name)(image)
    (gradient,) = torch.autograd.grad(maps.mean(), image)
    assert torch.isfinite(maps).all()
    assert torch.isfinite(gradient).all()
    if name not in CONSTANT and not name.startswith("default"):
        assert maps.max() - maps.min() < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_gray_images_are_predicted_as_their_rgb_copies(name: str) -> None:
    model = registry.load(name)
    gray = photograph("camera")
    expected = model(gray.repeat(1, 3, 1, 1))
    assert torch.equal(model(gray), expected)
    opaque = torch.cat([gray.repeat(1, 3, 1, 1), torch.ones_like(gray)], dim=1)
    assert torch.equal(model(opaque), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_no_numbers_are_refused(name: str, value: float) -> None:
    images = some(2, 3, 16, 16)
    images[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match=r"Images \[1\] of the batch hold NaN or infinite"):
        registry.load(name)(images)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (torch.zeros(0, 3, 8, 8), "batch of images is empty"),
        (torch.zeros(1, 3, 0, 8), "have no pixels"),
        (torch.zeros(3, 8, 8), "Add a batch dimension"),
        (torch.zeros(1, 8, 8, 3), "channels-last"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"images\.float\(\) / 255"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        registry.load("graph-based")(images)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_come_back(name: str, dtype: torch.dtype) -> None:
    model = registry.load(name)
    maps = model(photograph("chelsea").to(dtype))
    assert maps.dtype == dtype
    reference = model(photograph("chelsea").to(dtype).float()).double()
    assert (maps.double() - reference).abs().max() < 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_the_same_image_twice_gives_the_same_bits(name: str) -> None:
    image = photograph("coffee").requires_grad_()
    weights = some(1, 1, 400, 600)
    runs = []
    for _ in range(2):
        maps = registry.load(name)(image)
        runs.append((maps.detach(), torch.autograd.grad((maps * weights).sum(), image)[0]))
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(7, 9), (20, 16)])
def test_gradients_agree_with_differences(name: str, size: tuple[int, int]) -> None:
    model = registry.load(name)
    image = (0.1 + 0.8 * some(1, 3, *size, dtype=torch.float64)).requires_grad_()
    weights = some(1, 1, *size, seed=1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((model(image) * weights).sum(), image)
    for seed in range(3):
        direction = some(1, 3, *size, seed=10 + seed, dtype=torch.float64) - 0.5
        step = 1e-6
        with torch.no_grad():
            above, below = ((model(image + sign * step * direction) * weights).sum() for sign in (1, -1))
        torch.testing.assert_close((gradient * direction).sum(), (above - below) / (2 * step), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name: str) -> None:
    image = (0.1 + 0.8 * some(2, 3, 4, 5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(registry.load(name), (image,), eps=1e-7, atol=1e-4, rtol=1e-3, fast_mode=True)


@pytest.mark.parametrize("name", sorted(set(NAMES) - CONSTANT))
@pytest.mark.parametrize("subject", ["astronaut", "camera", "rocket"])
def test_photographs_have_useful_pixel_gradients(name: str, subject: str) -> None:
    image = photograph(subject).requires_grad_()
    maps = registry.load(name)(image)
    across = torch.linspace(0, 1, maps.shape[-1])
    (gradient,) = torch.autograd.grad((maps * across).mean(), image)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).float().mean() > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_learned_and_nothing_asks_for_gradients(name: str) -> None:
    model = registry.load(name)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.needs_weights
    assert model.name == name
    assert model.kind == registry.find(name).kind


@pytest.mark.parametrize("name", NAMES)
def test_it_works_inside_inference_mode_and_afterwards(name: str) -> None:
    model = registry.load(name)
    image = some(1, 3, 24, 24)
    with torch.inference_mode():
        inside = model(image)
    outside = model(image.clone().requires_grad_())
    torch.testing.assert_close(inside, outside.detach())
    assert outside.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_a_detached_image_gets_the_same_map(name: str) -> None:
    model = registry.load(name)
    image = some(1, 3, 30, 40).requires_grad_()
    with_graph, without = model(image), model(image.detach())
    assert with_graph.requires_grad
    assert not without.requires_grad
    assert torch.equal(with_graph.detach(), without)


@pytest.mark.parametrize(
    ("subject", "rows", "columns"),
    [
        ("chelsea", (60, 220), (90, 330)),  # the eyes and the nose
        ("rocket", (100, 420), (290, 350)),  # the rocket, from its tip to the flame
        ("coffee", (20, 360), (150, 430)),  # the cup and the spoon
    ],
)
def test_the_default_finds_the_subject(subject: str, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    image = photograph(subject)
    maps = registry.load("default")(image)[0, 0]
    row, column = divmod(int(maps.argmax()), maps.shape[-1])
    assert rows[0] <= row < rows[1]
    assert columns[0] <= column < columns[1]
    inside = maps[rows[0] : rows[1], columns[0] : columns[1]].mean()
    assert inside > 2 * maps.mean()


@pytest.mark.parametrize("name", ["itti-koch", "graph-based"])
def test_the_odd_orientation_pops_out(name: str) -> None:
    """Vertical bars and one horizontal: what these models were made for (Itti, Koch, Niebur 1998, figure 2)."""
    image = torch.full((1, 3, 320, 320), 0.5)
    for row in range(8):
        for column in range(8):
            top, left = 20 + 40 * row, 20 + 40 * column
            down, across = (3, 12) if (row, column) == (2, 5) else (12, 3)
            image[..., top - down : top + down, left - across : left + across] = 1.0
    maps = registry.load(name)(image)[0, 0]
    row, column = divmod(int(maps.argmax()), maps.shape[-1])
    assert abs(row - 100) <= 20
    assert abs(column - 220) <= 20


def test_graph_degrees_are_row_sums_of_the_weights() -> None:
    features = some(1, 3, 4, dtype=torch.float64)
    values, sigma = features.flatten(), 1.3
    expected = torch.zeros(12, dtype=torch.float64)
    for i in range(12):
        for j in range(12):
            squared = (i // 4 - j // 4) ** 2 + (i % 4 - j % 4) ** 2
            apart = (values[i] - values[j]).abs()
            # Of faint differences a part is counted (Huber's function), of others all but half of what is faint.
            counted = apart - FAINT / 2 if apart > FAINT else apart**2 / (2 * FAINT)
            expected[i] += counted * torch.exp(torch.tensor(-squared / (2 * sigma**2), dtype=torch.float64))
    torch.testing.assert_close(node_degrees(features, sigma).flatten(), expected)


def test_degrees_are_the_stationary_distribution() -> None:
    """Of the random walk of the paper: the weights' rows divided by their sums."""
    values = some(12, dtype=torch.float64)
    weights = (values[:, None] - values[None, :]).abs()
    walk = weights / weights.sum(1, keepdim=True)
    degrees = weights.sum(1) / weights.sum()
    torch.testing.assert_close(degrees @ walk, degrees)


def test_the_center_prior_can_be_left_out_at_any_input_size() -> None:
    image, (bare, centered, signature) = photograph("chelsea"), map(registry.load, ("default-without-center", "default", "image-signature"))
    assert torch.equal(centered.without_center()(image), bare(image))
    assert torch.equal(centered.at_size(64, (300, 451)).without_center()(image), bare.at_size(64, (300, 451))(image))
    assert not torch.equal(centered(image), bare(image))
    assert signature.without_center() is signature  # has none


@pytest.mark.parametrize("name", sorted(set(NAMES) - CENTERED))
@pytest.mark.parametrize("color", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.9, 0.2, 0.1)])
def test_an_image_of_one_color_gets_a_constant_map(name: str, color: tuple[float, float, float]) -> None:
    """At 400 x 600 the rounding of its resizing is not constant; a predictor that scales to the maximum must not enlarge it."""
    image = torch.tensor(color).view(1, 3, 1, 1).repeat(1, 1, 400, 600).requires_grad_()
    maps = registry.load(name)(image)
    (gradient,) = torch.autograd.grad((maps * some(1, 1, 400, 600)).mean(), image)
    assert maps.max() <= 1
    assert maps.min() > 0.9999
    assert gradient.abs().max() < 0.02  # a photograph's: up to 0.003; an image signature of rounding had 450


@pytest.mark.parametrize("color", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.9, 0.2, 0.1)])
def test_of_an_image_of_one_color_the_default_leaves_the_center_prior(color: tuple[float, float, float]) -> None:
    """Within a gray level; where rounding errors were taken for contrast, it was ten levels off, with gradients of 159."""
    image = torch.tensor(color).view(1, 3, 1, 1).repeat(1, 1, 400, 600).requires_grad_()
    maps = registry.load("default")(image)
    (gradient,) = torch.autograd.grad((maps * some(1, 1, 400, 600)).mean(), image)
    assert (maps - registry.load("center-prior")(image)).abs().max() < 1 / 255
    assert gradient.abs().max() < 1e-3


@pytest.mark.parametrize("name", sorted(set(NAMES) - CONSTANT))
def test_gradients_stay_bounded_as_contrast_vanishes(name: str) -> None:
    """Noise from a tenth of the range down to rounding: a map that is divided by its contrast has gradients that grow without bound."""
    noise = some(1, 3, 200, 300) - 0.5
    steepest = []
    for contrast in (1e-1, 1e-2, 4e-3, 2e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
        image = (0.7 + contrast * noise).requires_grad_()
        maps = registry.load(name)(image)
        (gradient,) = torch.autograd.grad((maps * some(1, 1, 200, 300, seed=1)).mean(), image)
        steepest.append(float(gradient.abs().max()))
    assert max(steepest) < 10
    assert max(steepest[-3:]) < 0.2
