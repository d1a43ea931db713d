"""The demo's image."""

from __future__ import annotations

import pytest
from PIL import Image
from sgool.harness.demo_report import GAP, PLOT_SHAPE, Shown, draw_image


def shown(plot: Image.Image) -> Shown:
    tile = [Image.new("RGB", (64, 64), "gray")]
    return Shown("a red circle", (tile, tile), (tile, tile), (["wrong"], ["right"]), (0.1, 0.2), plot, "12 model calls")


@pytest.mark.parametrize("size", [(400, 320), (1000, 700), (900, 120)])
def test_the_image_ends_where_its_widest_plot_ends(size: tuple[int, int]) -> None:
    plot = Image.effect_noise(size, 50).convert("RGB").point(lambda value: value // 4)
    sheet = draw_image([shown(plot), shown(plot.crop((0, 0, 100, 100)))])
    background = sheet.getpixel((0, 0))
    column = [sheet.crop((x, 0, x + 1, sheet.height)).getcolors() for x in range(sheet.width)]
    filled = [x for x, colors in enumerate(column) if colors is None or len(colors) > 1 or colors[0][1] != background]
    assert sheet.width - 1 - filled[-1] == GAP
    assert filled[-1] - filled[0] <= 4 * (192 + GAP) + PLOT_SHAPE[0]
