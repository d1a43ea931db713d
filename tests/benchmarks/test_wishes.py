"""The table and the figure of ``bench art``, from records written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sgool.benchmarks.common.jobs import Job, Store

pytestmark = pytest.mark.comfyui

from sgool.benchmarks.art import HEAD, rows_of  # noqa: E402
from sgool.benchmarks.wishes import figure  # noqa: E402
from sgool.benchmarks.wishes.owner import NOISES  # noqa: E402
from sgool.benchmarks.wishes.terms import Remembered, hatching  # noqa: E402
from sgool.benchmarks.worth.demo_model import png_of  # noqa: E402

METHOD = "warm, alone"
JOBS = [Job(0, 0, ("one", "two"), method) for method in (NOISES, METHOD)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path, {})
    first = {"measured": {"warm": [[0.5, 0.4, 0.2], [0.5, 0.6, 0.1]]}, "right": [[True, True, False], [False, False, True]]}
    noises = [torch.full((2, 3, 64, 64), level) for level in (0.0, 0.5, 1.0)]
    made.add(JOBS[0], {**first, "chosen": {METHOD: [[1, 0], [2, 2]]}, "files": {f"images/{JOBS[0].key}.png": png_of(noises)}})
    after = {"measured": {"warm": [0.6, 0.3]}, "right": [False, True]}
    made.add(JOBS[1], {**after, "files": {f"images/{JOBS[1].key}.png": png_of(noises[1:2])}})
    return made


def test_a_line_compares_the_optimized_images_with_the_plain_ones_and_the_best_of_all(store: Store) -> None:
    (row,) = rows_of(store, JOBS, ["warm", "palette"], ["alone"])
    assert dict(zip(HEAD, row, strict=True)) == {
        "term": "warm",
        "optimized": "alone",
        "images": 2,
        "improved": "50 %",
        "better than best of N": "0 %",
        "plain": "0.500",
        "start": "0.450",
        "measure": "0.450",
        "best of 32": "0.150",
        "right: plain": 1,
        "right": 1,
        "right: best of 32": 1,
        "goal": "missed",
    }


def test_the_figure_shows_where_it_worked_and_where_it_failed(store: Store) -> None:
    (_, worked), (heading, failed) = figure.rows_of(store, ["warm", "warm"], "alone", failures=1)
    assert [cell.label for cell in worked] == ["plain: 0.500", "optimized: 0.300", "best of 32: 0.100"]
    assert [cell.label for cell in failed] == ["plain: 0.500", "optimized: 0.600", "best of 32: 0.200"]
    assert heading == "Failure: warm. one"
    assert [cell.right for cell in failed] == [True, False, False]
    levels = [np.asarray(cell.images[0]).mean().round() for cell in failed]
    assert levels == [0, 128, 255]


def test_maps_of_the_images_that_were_seen_last_are_kept() -> None:
    asked: list[int] = []
    remembered = Remembered(lambda images: asked.append(len(images)) or images[:, :1])
    one, other = hatching(), 1 - hatching()
    for images in (one, one.clone(), other, one):
        torch.testing.assert_close(remembered(images), images[:, :1])
    assert len(asked) == 3
