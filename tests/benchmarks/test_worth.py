"""The prompts of the benchmark of the method, and what it shows of made-up results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sgool.benchmarks.common.jobs import Record, Store, plan
from sgool.benchmarks.is_it_worth_it import report
from sgool.benchmarks.worth import tables
from sgool.benchmarks.worth.prompts import CHUNK, HALVES, KINDS, chunks, draw_prompts, half_of, kind_of, noise_seed
from sgool.demo.captions import held_out, parse

N = 20


def made_up(hits: int, evaluations: float, path: bool) -> list[Record]:
    """Rows of N prompts, the first ``hits`` of them right."""
    return [
        {"prompt": f"prompt {i}", "kind": KINDS[i % 5], "right": i < hits, "objects": True, "count": i < hits, "relation": True}
        | {"similarity": 0.9, "evaluations": evaluations, "seconds": 1.0, "path": [(0.8, False), (0.9, i < hits)] if path else []}
        for i in range(N)
    ]


OUTCOMES = {"plain": made_up(8, 8, False), "best of 31": made_up(14, 248, False), "gradient": made_up(18, 248, True)}


def test_the_halves_share_no_prompt_and_no_training_caption() -> None:
    tune, others = (set(draw_prompts(half, 60)) for half in HALVES)
    assert not tune & others
    assert all(held_out(text) for text in tune | others)
    assert all(half_of(text) == "tune" for text in tune)


def test_kinds_come_in_turn_and_more_prompts_begin_with_the_same_ones() -> None:
    few, many = draw_prompts("report", 12), draw_prompts("report", 60)
    assert many[:12] == few
    assert [kind_of(parse(text)) for text in many[:10]] == 2 * list(KINDS)
    assert chunks("report", 12) == [tuple(many[:CHUNK]), tuple(many[CHUNK : 2 * CHUNK])]
    assert len({noise_seed(text, number) for text in few for number in range(3)}) == 36


def test_rows_are_found_again_with_their_images(tmp_path: Path) -> None:
    store, jobs = Store(tmp_path, {}), plan(chunks("tune", 20), 1, ["m"])
    for job in jobs:
        strip = Image.fromarray(np.arange(CHUNK, dtype=np.uint8).repeat(64)[None].repeat(64, 0) + 10 * job.place).convert("RGB")
        strip.save(tmp_path / f"{job.key}.png")
        store.add(job, {"rows": [{"prompt": text} for text in job.prompts], "image": f"{job.key}.png"})
    rows = tables.rows_of(store, jobs, 13)
    assert [row["prompt"] for row in rows] == draw_prompts("tune", 13)
    assert [tables.image_of(store, row).getpixel((5, 5)) for row in (rows[0], rows[12])] == [(0, 0, 0), (12, 12, 12)]


def test_the_table_says_how_many_and_against_what() -> None:
    lines = tables.comparison_table(OUTCOMES, "best of 31").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")] for line in lines[2:]}
    assert cells["gradient"][2].startswith("**90.0**")
    assert cells["gradient"][5].startswith("+20.0")
    assert cells["gradient"][6:8] == ["4 / 0", "0.125"]
    assert cells["plain"][6:9] == ["0 / 6", "0.031", "0.062"]
    assert cells["best of 31"][5] == ""


def test_kinds_add_up() -> None:
    line = tables.kinds_table({"plain": OUTCOMES["plain"]}).splitlines()[-1]
    assert sum(float(cell) for cell in line.split("|")[2:7]) / 5 == pytest.approx(40, abs=1)


def test_the_report_has_tables_plots_and_the_discordant_pairs(tmp_path: Path) -> None:
    found = tables.gained_and_lost(OUTCOMES["gradient"], OUTCOMES["best of 31"])
    assert [row["prompt"] for _, row in found["gained"]] == [f"prompt {i}" for i in range(14, 18)]
    assert not found["lost"]
    Image.new("RGB", (64 * N, 64), (30, 30, 30)).save(tmp_path / "strip.png")
    outcomes = {name: [{**row, "image": "strip.png", "column": i} for i, row in enumerate(rows)] for name, rows in OUTCOMES.items()}
    report(Store(tmp_path, {}), outcomes, tmp_path / "out")
    assert (tmp_path / "out" / "table.md").read_text().startswith("20 images\n")
    for name in ("cost.png", "iterations.png", "gradient/sheet-01.jpg"):
        with Image.open(tmp_path / "out" / name) as image:
            assert np.asarray(image.convert("RGB")).std() > 5
