"""The plot of a run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgool.latent_optimization.history import Cost, History, Row
from sgool.latent_optimization.plot import BACKGROUND, COLOURS, Curve, Panel, draw, label, panels_of, ticks


def history(pictures: int = 2, rows: int = 4, loss: float = 1.0) -> History:
    made = History(pictures, 16, {})
    nan = math.nan
    for index in range(rows):
        last = index == rows - 1
        made.rows.append(
            Row(
                iteration=index,
                loss=[loss / (index + 1) + picture for picture in range(pictures)],
                parts={"global": [0.5] * pictures, "salient": [0.1 * index] * pictures},
                regularizer=[nan] * pictures,
                gradient_norm=[nan if last else 10.0**-index] * pictures,
                step_norm=[nan] * pictures,
                noise_norm=[4.0] * pictures,
                step_factor=[1.0] * pictures,
                active=[True] * pictures,
                finite=[True] * pictures,
                cost=Cost(),
            )
        )
    made.returned_iteration = [rows - 1] * pictures
    return made


def colours(picture: object) -> set[tuple[int, int, int]]:
    return {colour for _, colour in picture.getcolors(picture.width * picture.height)}  # type: ignore[attr-defined]


def test_every_number_has_its_curve() -> None:
    losses, parts, gradients = panels_of(history())
    assert [curve.points for curve in losses.curves] == [
        [(0, 1), (1, 0.5), (2, 1 / 3), (3, 0.25)],
        [(0, 2), (1, 1.5), (2, 4 / 3), (3, 1.25)],
    ]
    assert [curve.mark for curve in losses.curves] == [3, 3]
    assert [curve.name for curve in parts.curves] == ["global", "salient"]
    assert [len(curve.points) for curve in gradients.curves] == [3, 3]  # the last iterate has no gradient
    assert gradients.logarithmic


def test_curves_are_drawn_in_their_colours() -> None:
    picture = draw(panels_of(history()), heading="two pictures")
    assert picture.mode == "RGB"
    assert picture.size == (960, 44 + 3 * 300)
    assert {BACKGROUND, *COLOURS[:2]} <= colours(picture)
    assert COLOURS[2] not in colours(picture)


@pytest.mark.parametrize(("pictures", "rows", "loss"), [(1, 1, 0.0), (12, 200, 1e-9), (1, 2, math.nan), (3, 3, -5e6)])
def test_odd_runs_can_be_drawn(pictures: int, rows: int, loss: float) -> None:
    assert draw(panels_of(history(pictures, rows, loss))).width == 960


def test_nothing_measured_is_said() -> None:
    assert len(colours(draw([], heading="nothing"))) > 1
    assert draw([Panel("empty", [Curve("none", [], 0)])]).size == (960, 308)


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6))
def test_ticks_are_round_and_inside(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    assert 1 <= len(marks) <= 6
    assert all(low - 1e-6 * span <= mark <= low + span * (1 + 1e-6) for mark in marks)
    assert all(label(mark) for mark in marks)
