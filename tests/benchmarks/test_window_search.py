"""Images on a canvas that a reward overlooks: where they lie, how each way looks at them, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from sgool.benchmarks.window_search import HEAD, chosen, rows_of
from sgool.benchmarks.worth.canvas import CANVAS, FADED, NODE, PHRASES, RANDOM, WHOLE, Looks, LooksLoss, Place, draw_two_small
from sgool.demo.captions import COLORS, Caption, held_out, parse
from sgool.demo.scenes import SIDE
from sgool.guidance.objective import Context, Objective
from torch import Tensor
from torch.nn.functional import normalize

READS = 24
TEXT = "a small red circle and a small blue ring"


class Colors:
    """A reward that knows colors: of images the mean one, of captions the mean of those they name."""

    def look(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return normalize(images.mean((2, 3)), dim=1), {}

    def read(self, captions: Sequence[Sequence[Caption]]) -> Tensor:
        named = [[torch.tensor([COLORS[phrase.color] for phrase in each.phrases]).float().mean(0) for each in row] for row in captions]
        return normalize(torch.stack([torch.stack(row) for row in named]), dim=-1)


def two_squares(canvas: Tensor) -> Tensor:
    """A map with its mass in two squares of the image, as large as windows: one in its left half, one in its right."""
    place, found = Place.of(TEXT), torch.zeros(len(canvas), 1, CANVAS, CANVAS)
    for start, mass in ((SIDE // 2 - READS, 1.0), (SIDE // 2, 0.5)):
        found[:, :, place.top + start : place.top + start + READS, place.left + start : place.left + start + READS] = mass
    return found


def looks() -> Looks:
    model: Any = Colors()
    return Looks(model, {"squares": two_squares}, TEXT, READS)


def half_red_half_blue() -> Tensor:
    red, blue = (torch.tensor(COLORS[name]).view(3, 1, 1) / 255 for name in ("red", "blue"))
    return torch.where(torch.arange(SIDE) < SIDE // 2, red, blue).expand(3, SIDE, SIDE)[None].clone()


def test_prompts_ask_for_two_small_objects_and_more_begin_with_the_same() -> None:
    few, many = draw_two_small("report", 5), draw_two_small("report", 12)
    assert many[:5] == few
    assert all(held_out(text) and parse(text).count == 2 and text.count("small") == 2 for text in many)
    assert not set(many) & set(draw_two_small("tune", 12))


def test_an_image_lies_on_its_ground_and_fades_out_at_its_border() -> None:
    place, images = Place.of(TEXT), torch.rand(2, 3, SIDE, SIDE, requires_grad=True)
    canvas = place.laid(images)
    inner = slice(FADED, SIDE - FADED)
    assert torch.equal(canvas, Place.of(TEXT).laid(images))
    seen = canvas[:, :, place.top : place.top + SIDE, place.left : place.left + SIDE]
    assert torch.allclose(seen[..., inner, inner], images[..., inner, inner], atol=1e-6)
    outside = torch.ones(CANVAS, CANVAS, dtype=torch.bool)
    outside[place.top : place.top + SIDE, place.left : place.left + SIDE] = False
    assert torch.equal(canvas[..., outside], place.ground[:, outside].expand(2, -1, -1))
    (gradient,) = torch.autograd.grad(canvas.sum(), images)
    assert gradient[..., 0, 0].max() < 0.01
    assert gradient[..., inner, inner].min() > 0.99


def test_each_phrase_is_held_against_the_window_that_shows_it_best() -> None:
    found = looks().scores(half_red_half_blue(), looks().ways)
    assert list(found) == [WHOLE, PHRASES, RANDOM, NODE, "windows: squares"]
    assert 2 * found["windows: squares"] - found[WHOLE] == pytest.approx(1.0, abs=1e-3)  # one is all red, one all blue
    assert found[PHRASES] < found["windows: squares"]
    assert found[RANDOM] < found["windows: squares"]


def test_the_loss_is_one_minus_the_score_of_the_prompt_at_that_place() -> None:
    loss, images = LooksLoss([looks(), looks()], "windows: squares"), half_red_half_blue().requires_grad_()
    assert isinstance(loss, Objective)
    losses = loss(images, Context(index=1)).losses
    assert torch.allclose(losses, 1 - looks().scores(images, ["windows: squares"])["windows: squares"])
    assert torch.autograd.grad(losses.sum(), images)[0].abs().max() > 0


def test_ways_choose_among_the_same_images_and_are_compared_with_whole_and_random() -> None:
    record = {"right": [True, False, False], "scores": {WHOLE: [0, 1, 2], RANDOM: [0, 2, 1], "windows: x": [2, 1, 0]}}
    found = chosen([record] * 4, 3)
    assert found == {WHOLE: [0.0] * 4, RANDOM: [0.0] * 4, "windows: x": [1.0] * 4}
    whole, random, window = rows_of(32, "best of 3", found)
    assert {len(row) for row in (whole, random, window)} == {len(HEAD)}
    assert window[5:] == ["+100.0 (+100 to +100)", "0.125", "+100.0 (+100 to +100)", "0.125"]
    assert (whole[5], random[7]) == ("", "")
