"""Thumbnails of templates."""

from __future__ import annotations

import pytest
from PIL import Image
from sgool.harness.server import ROOT
from sgool.harness.thumbnail import GAP, LABEL, WIDTH, settings_of, sheet, title_of, words_of
from sgool.harness.workflow import load

THUMBNAILS = sorted((ROOT / "workflows").glob("*.jpg"))


@pytest.mark.parametrize(
    ("rows", "tile", "height"),
    [([6, 6], 192, 2), ([1, 1], 392, 1), ([1, 1, 1, 1], 392, 2), ([1], 792, 1), ([2], 392, 1)],
)
def test_images_stand_side_by_side_as_large_as_fits(rows: list[int], tile: int, height: int) -> None:
    drawn = sheet([("words", [Image.new("RGB", (50, 50), "red")] * count) for count in rows])
    assert drawn.size == (WIDTH, height * (LABEL + tile + GAP) + GAP)
    red = sum(count for count, color in drawn.getcolors(100000) or [] if color == (255, 0, 0))
    assert red == tile**2 * sum(min(4, count) for count in rows)


def test_rows_of_wide_images_are_no_higher_than_these() -> None:
    drawn = sheet([("words", [Image.new("RGB", (100, 50), "red")] * 2)] * 2)
    assert drawn.size == (WIDTH, 2 * (LABEL + 196 + GAP) + GAP)
    assert drawn.getpixel((GAP, GAP + LABEL)) == drawn.getpixel((GAP + 391, GAP + LABEL + 195)) == (255, 0, 0)


def test_every_template_has_a_thumbnail() -> None:
    assert sorted(path.stem for path in THUMBNAILS) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


@pytest.mark.parametrize("path", THUMBNAILS, ids=lambda path: path.stem)
def test_a_thumbnail_is_small(path) -> None:
    assert path.stat().st_size < 200_000


def test_no_two_thumbnails_are_the_same_picture() -> None:
    seen = [Image.open(path).convert("RGB").tobytes() for path in THUMBNAILS]
    assert len(set(seen)) == len(seen)


def test_what_is_drawn_as_a_graph_says_model_and_settings_of_its_own() -> None:
    graphs = {path.stem: load(ROOT / "workflows" / "api" / f"{path.stem}.json") for path in THUMBNAILS}
    said = {name: [title_of(name), *settings_of(graph)] for name, graph in graphs.items() if not words_of(graph)}
    assert said["SGOOL-SDXL"] == [
        "SDXL",
        "sd_xl_base_1.0",
        "1024 x 1024, 25 steps, CFG 7",
        "search first, 3 iterations",
    ]
    assert len({tuple(each[:2]) for each in said.values()}) == len(said) > 4
