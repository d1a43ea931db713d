"""What the benchmark of the method shows: tables and plots of made-up results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sgool.benchmarks.worth import plots, tables
from sgool.benchmarks.worth.prompts import KINDS
from sgool.benchmarks.worth.results import Row

N = 20


def rows(hits: int, evaluations: float, path: bool) -> list[Row]:
    return [
        {"prompt": f"prompt {i}", "kind": KINDS[i % 5], "right": i < hits, "objects": True, "count": i < hits, "relation": True}
        | {"similarity": 0.9, "evaluations": evaluations, "seconds": 1.0, "path": [(0.8, False), (0.9, i < hits)] if path else []}
        for i in range(N)
    ]


OUTCOMES = {"plain": rows(8, 8, False), "best of 31": rows(14, 248, False), "gradient": rows(18, 248, True)}


def test_the_table_says_how_many_and_against_what() -> None:
    lines = tables.main_table(OUTCOMES, "best of 31").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")] for line in lines[2:]}
    assert cells["gradient"][2].startswith("**90.0**")
    assert cells["gradient"][5].startswith("+20.0")
    assert cells["gradient"][6:8] == ["4 / 0", "0.125"]
    assert cells["plain"][6] == "0 / 6"
    assert cells["best of 31"][5] == ""


def test_the_short_table_counts_against_what_is_changed() -> None:
    lines = tables.short_table(OUTCOMES, "best of 31").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    plain, base, gradient = ([cell.strip() for cell in line.split("|")] for line in lines[2:])
    assert plain[2:6] == ["40", plain[3], "0 / 6", "0.031"]
    assert plain[3].startswith("-30 (")
    assert base[3:6] == ["", "", ""]
    assert gradient[6] == "248"


def test_an_idea_stands_beside_what_came_of_it() -> None:
    ideas = {"gradient": ("it knows where to go", "20 points more"), "not run": ("", "")}
    lines = tables.ideas_table(ideas, OUTCOMES, "best of 31").splitlines()
    assert len(lines) == 3
    assert [cell.strip() for cell in lines[2].split("|")[2:6]] == ["it knows where to go", "20 points more", "90 against 70", "4 / 0"]


def test_kinds_add_up() -> None:
    line = tables.kinds_table({"plain": OUTCOMES["plain"]}).splitlines()[-1]
    shares = [float(cell) for cell in line.split("|")[2:7]]
    assert sum(shares) / 5 == pytest.approx(40, abs=1)


def test_gained_and_lost_are_the_discordant_pairs() -> None:
    found = tables.gained_and_lost(OUTCOMES["gradient"], OUTCOMES["best of 31"])
    assert [row["prompt"] for _, row in found["gained"]] == [f"prompt {i}" for i in range(14, 18)]
    assert not found["lost"]


def test_plots_are_images(tmp_path: Path) -> None:
    plots.accuracy_against_cost(OUTCOMES, tmp_path / "cost.png")
    plots.judge_against_score(OUTCOMES, tmp_path / "iterations.png")
    pairs = tables.gained_and_lost(OUTCOMES["gradient"], OUTCOMES["best of 31"])["gained"]
    plots.strip(pairs, lambda row: np.full((3, 64, 64), 200 if row["right"] else 30, np.uint8), tmp_path / "strip.png")
    for name in ("cost", "iterations", "strip"):
        image = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        assert image.std() > 5
    strip = np.asarray(Image.open(tmp_path / "strip.png").convert("RGB")).reshape(-1, 3)
    assert (strip == (30, 30, 30)).all(1).any()
    assert (strip == (200, 200, 200)).all(1).any()
