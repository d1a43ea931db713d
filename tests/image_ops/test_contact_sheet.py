"""A contact sheet shows each image at its place."""

from __future__ import annotations

import pytest
import torch
from sgool.image_ops.contact_sheet import CELL, GAP, LINE, contact_sheet


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (16, 4, 4)])
def test_every_image_is_at_its_place(count: int, columns: int, rows: int) -> None:
    levels = [(number + 1) / (count + 1) for number in range(count)]
    sheet = contact_sheet([torch.full((3, 64, 64), level) for level in levels], [["a", "b"]] * count)
    height = CELL + 2 * LINE + GAP
    assert sheet.shape == (1, GAP + rows * (height + GAP), GAP + columns * (CELL + GAP), 3)
    for number, level in enumerate(levels):
        left, top = GAP + number % columns * (CELL + GAP), GAP + number // columns * (height + GAP)
        assert sheet[0, top + CELL // 2, left + CELL // 2].tolist() == pytest.approx([level] * 3, abs=1 / 255)


def test_wide_and_tall_images_keep_their_shape() -> None:
    sheet = contact_sheet([torch.zeros(3, 32, 128), torch.zeros(3, 1024, 256)], [["wide"], ["tall"]])
    dark = sheet[0, GAP : GAP + CELL].amax(-1) < 0.05
    first, second = dark[:, GAP : GAP + CELL], dark[:, 2 * GAP + CELL :]
    assert (int(first.any(1).sum()), int(first.any(0).sum())) == (64, 256)
    assert (int(second.any(1).sum()), int(second.any(0).sum())) == (256, 64)


def test_those_marked_have_a_frame() -> None:
    images = [torch.zeros(3, 64, 64)] * 2
    framed, plain = contact_sheet(images, [["x"]] * 2, marked=1), contact_sheet(images, [["x"]] * 2)
    changed = (framed != plain).any(-1)[0]
    assert changed[:, : GAP + CELL].any()
    assert not changed[:CELL, 2 * GAP + CELL :].any()
