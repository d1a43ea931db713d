"""The plot of a run."""

from __future__ import annotations

import math

import kornia
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sgool.latent_optimization.history import Cost, History, Row
from sgool.latent_optimization.plot import Curve, Panel, panels_of
from sgool.latent_optimization.plot_drawing import BACKGROUND, COLORS, HEIGHT, LINE, SMALL, WIDTH, draw, label, powers, ticks


def history(images: int = 2, rows: int = 4, loss: float = 1.0) -> History:
    made = History(images, 16, {})
    nan = math.nan
    for index in range(rows):
        last = index == rows - 1
        made.rows.append(
            Row(
                iteration=index,
                loss=[loss / (index + 1) + image for image in range(images)],
                parts={"global": [0.5] * images, "salient": [0.1 * index] * images},
                regularizer=[nan] * images,
                gradient_norm=[nan if last else 10.0**-index] * images,
                step_norm=[nan] * images,
                noise_norm=[4.0] * images,
                step_factor=[1.0] * images,
                predicted_fall=[nan] * images,
                fall=[nan] * images,
                rejected=[False] * images,
                active=[True] * images,
                finite=[True] * images,
                cost=Cost(),
            )
        )
    made.returned_iteration = [rows - 1] * images
    return made


def colors(image: object) -> set[tuple[int, int, int]]:
    return {color for _, color in image.getcolors(image.width * image.height)}  # type: ignore[attr-defined]


def test_every_number_has_its_curve() -> None:
    losses, _, parts, gradients, _ = panels_of(history())
    assert [curve.points for curve in losses.curves] == [
        [(0, 1), (1, 0.5), (2, 1 / 3), (3, 0.25)],
        [(0, 2), (1, 1.5), (2, 4 / 3), (3, 1.25)],
    ]
    assert [curve.mark for curve in losses.curves] == [3, 3]
    assert [curve.name for curve in parts.curves] == ["global", "salient"]
    assert [len(curve.points) for curve in gradients.curves] == [3, 3]  # the last iterate has no gradient
    assert gradients.logarithmic


def test_steps_that_were_taken_back_are_left_out() -> None:
    made = history()
    made.rows[2].rejected = [False, True]
    made.rows[2].parts["salient"] = [0.2, 9.0]
    made.rows[3].rejected = [True, True]
    losses, _, parts, _, _ = panels_of(made)
    assert [[x for x, _ in curve.points] for curve in losses.curves] == [[0, 1, 2], [0, 1]]
    assert parts.curves[1].points == [(0, 0), (1, 0.1), (2, 0.2)]  # no mean of no image, and none with the 9 that was taken back
    assert "taken back" in losses.title
    assert "taken back" not in panels_of(history())[0].title


def test_what_kept_steps_lowered_the_loss_by_adds_up() -> None:
    made = history(images=1)
    for row, fall, rejected in zip(made.rows, [math.nan, 0.25, -1.0, 0.5], [False, False, True, False], strict=True):
        row.fall, row.rejected = [fall], [rejected]
    assert panels_of(made)[1].curves[0].points == [(0, 0), (1, -0.25), (3, -0.75)]
    assert not panels_of(history())[1].curves[0].points  # no trust region: nothing was measured so


def test_curves_are_drawn_in_their_colors() -> None:
    image = draw(panels_of(history()), heading="two images")
    assert image.mode == "RGB"
    assert image.width == WIDTH
    assert 3 * HEIGHT < image.height < 3 * HEIGHT + 400  # a heading, and above each panel its title and the curves' names
    assert {BACKGROUND, *COLORS[:2]} <= colors(image)
    assert COLORS[2] not in colors(image)


@pytest.mark.parametrize(("images", "rows", "loss"), [(1, 1, 0.0), (12, 200, 1e-9), (1, 2, math.nan), (3, 3, -5e6)])
def test_odd_runs_can_be_drawn(images: int, rows: int, loss: float) -> None:
    assert draw(panels_of(history(images, rows, loss))).width == WIDTH


def test_nothing_measured_is_said() -> None:
    assert len(colors(draw([], heading="nothing"))) > 1
    assert draw([Panel("empty", [Curve("none", [], 0)])]).width == WIDTH


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6))
def test_ticks_are_round_and_inside(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    assert 1 <= len(marks) <= 6
    assert all(low - 1e-6 * span <= mark <= low + span * (1 + 1e-6) for mark in marks)
    assert all(label(mark) for mark in marks)


def test_names_and_titles_stay_inside() -> None:
    curves = [Curve(f"an objective with a long name {number}", [(0.0, number)], number) for number in range(8)]
    image = draw([Panel("a title that says much " * 8, curves)])
    edges = image.crop((0, 0, 8, image.height)), image.crop((image.width - 8, 0, image.width, image.height))
    assert [colors(edge) for edge in edges] == [{BACKGROUND}] * 2


# Machado, Oliveira and Fernandes 2009 (doi 10.1109/TVCG.2009.113), table 1 at severity 1: matrices in linear RGB.
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("kind", ["none", *DEFICIENCIES])
def test_curves_are_told_apart_by_every_kind_of_color_vision(kind: str) -> None:
    color = kornia.color
    linear = color.rgb_to_linear_rgb(torch.tensor([BACKGROUND, *COLORS[:4]], dtype=torch.float64)[..., None, None] / 255)
    seen = linear if kind == "none" else torch.einsum("ij,njhw->nihw", torch.tensor(DEFICIENCIES[kind], dtype=torch.float64), linear)
    lab = color.rgb_to_lab(color.linear_rgb_to_rgb(seen.clamp(0, 1))).flatten(1)
    # 2.3 is a just noticeable difference of CIE 1976 Lab.
    assert float(torch.pdist(lab).min()) > 10
    luminance = torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64) @ linear.flatten(1).T
    assert float((1.05 / (luminance[1:] + 0.05)).min()) > 2.7  # contrast with the white ground as WCAG 2 has it


def test_it_can_be_read_in_a_gallery() -> None:
    shrunk = 256 / WIDTH
    assert SMALL * shrunk > 7
    assert LINE * shrunk > 1.5
    image = draw(panels_of(history()), heading="two images")
    small = image.resize((256, image.height * 256 // WIDTH))
    for color in COLORS[:2]:  # each curve still has pixels of nearly its color
        assert min(sum(abs(a - b) for a, b in zip(color, each, strict=True)) for each in colors(small)) < 40


@given(st.floats(-30, 5), st.floats(0.001, 30))
def test_a_logarithmic_axis_has_round_numbers(low: float, span: float) -> None:
    marks = powers(low, low + span)
    assert 1 <= len(marks) <= 6
    assert all(low - 1e-6 <= mark <= low + span + 1e-6 for mark in marks)
    assert span < 1 or all(f"{10.0**mark:.3e}"[0] in "125" and f"{10.0**mark:.3e}"[2:5] == "000" for mark in marks)


def test_colors_of_one_mark_differ_in_lightness_or_hue_for_every_kind_of_color_vision() -> None:
    """Machado, Oliveira and Fernandes' (2009) deuteranopia and protanopia, distances in CIE L*a*b*."""
    seen = torch.tensor(COLORS, dtype=torch.float64).T.reshape(1, 3, -1, 1) / 255
    linear = kornia.color.rgb_to_linear_rgb(seen)
    for matrix in (
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    ):
        shown = torch.einsum("ij,bjnk->bink", torch.tensor(matrix, dtype=torch.float64), linear).clamp(0, 1)
        lab = kornia.color.rgb_to_lab(kornia.color.linear_rgb_to_rgb(shown))[0, :, :, 0].T
        for number in range(4):  # each mark is used twice
            assert (lab[number] - lab[number + 4]).norm() > 20, f"colors {number} and {number + 4}"
