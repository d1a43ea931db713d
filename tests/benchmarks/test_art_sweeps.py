"""Every artistic term rises along images that leave its wish step by step."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

pytestmark = pytest.mark.comfyui

from sgool.benchmarks.__main__ import main  # noqa: E402
from sgool.benchmarks.wishes.sweeps import Sweep, sweeps  # noqa: E402
from sgool.guidance.art.color_rules import COLOR_RULES  # noqa: E402
from sgool.guidance.art.composition_rules import RULES  # noqa: E402
from sgool.guidance.art.light_rules import LIGHT_RULES  # noqa: E402
from sgool.guidance.art.texture_rules import STROKE_RULES  # noqa: E402

SWEEPS = sweeps()


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: f"{sweep.name}-{sweep.of or 'formula'}")
def test_a_term_rises_the_farther_an_image_is_from_its_wish(sweep: Sweep) -> None:
    losses = sweep.losses()
    assert all(later > earlier - 1e-3 for earlier, later in itertools.pairwise(losses)), losses
    assert losses[-1] > losses[0] + 0.05


def test_every_rule_is_swept_and_drawn(tmp_path: Path) -> None:
    formulas = [sweep.name for sweep in SWEEPS if not sweep.of]
    assert sorted(formulas) == sorted([*RULES, *COLOR_RULES, "palette", *LIGHT_RULES, *STROKE_RULES, "reference"])
    assert main(["art_sweeps", str(tmp_path / "plot.png")]) == 0
    assert (tmp_path / "plot.png").stat().st_size > 10000
