"""The comparison of methods on the demo model: its prompts, its runs in a real ComfyUI, and what it shows of made-up results."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sgool.benchmarks.common.jobs import Job, Store, plan
from sgool.benchmarks.is_it_worth_it import chosen, report
from sgool.benchmarks.worth import segmenter, tables
from sgool.benchmarks.worth.demo_model import Demo, DemoOwner, images_of, random_map
from sgool.benchmarks.worth.methods import FEW_STEPS, GROUPS, PROCEDURES, SALIENCY, Method, best_of, gradient, rescored
from sgool.benchmarks.worth.prompts import CHUNK, HALVES, KINDS, chunks, draw_prompts, half_of, kind_of, noise_seed
from sgool.benchmarks.worth.zero_order import ZeroOrder
from sgool.demo.captions import held_out, parse
from sgool.harness.problems import SetupProblem

pytestmark = pytest.mark.comfyui
PROMPTS = draw_prompts("tune", 2)
FOUR_STEPS = FEW_STEPS["4 steps, plain"]
N = 20


def made_up(method: str, hits: int, calls: float) -> pd.DataFrame:
    """Rows of N prompts, the first ``hits`` of them right."""
    places = np.arange(N)
    about = {"method": method, "number": 0, "prompt": [f"prompt {i}" for i in places], "kind": [KINDS[i % 5] for i in places]}
    verdict = {"right": places < hits, "objects": True, "count": places < hits, "relation": True, "similarity": 0.9}
    cost = {"calls": calls, "gradients": 10, "seconds": calls / 100}
    return pd.DataFrame({**about, **verdict, **cost, "image": "strip.png", "column": places})


IMAGES = pd.concat([made_up("plain", 8, 8), made_up("best of 31", 14, 248), made_up("gradient", 18, 248)])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("worth"))


def quick(method: Method, **settings: object) -> Method:
    preset = replace(method.preset, settings=replace(method.preset.settings, **settings))  # type: ignore[arg-type]
    return replace(method, steps=2, preset=preset)


def run(demo: Demo, method: Method, number: int = 0) -> tuple[dict[str, Any], bytes]:
    """What there is to say of one image, and the image."""
    (row,), images = demo.run(method, PROMPTS[:1], 5, demo.noise(PROMPTS[:1], number))
    assert images.shape == (1, 3, 64, 64)
    return row, images.numpy().tobytes()


@pytest.mark.parametrize(
    ("method", "calls", "gradients"),
    [
        (Method(steps=2), 2, 0),
        (FOUR_STEPS, 4, 0),
        (quick(best_of(3)), 6, 0),
        (quick(gradient(), iterations=2), 3 * 2, 2),
        (Method(steps=2, sampler="EDICT"), 4, 0),
        (quick(PROCEDURES["DOODL, the whole procedure"], iterations=2), 3 * 4, 2),
        (Method(steps=2, zero_order=ZeroOrder(1, 2)), 9 * 2, 0),
    ],
)
def test_what_a_method_costs_is_what_the_sampler_counted(demo: Demo, method: Method, calls: int, gradients: int) -> None:
    row, image = run(demo, method)
    assert (row["calls"], row["gradients"]) == (calls, gradients)
    assert image == run(demo, method)[1]  # seeds decide everything
    if method.preset.settings.best_of == 1:  # a search may find the same fresh noise
        assert image != run(demo, method, 1)[1]


def test_the_lora_and_each_map_change_the_image(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "SCHEDULE", replace(segmenter.SCHEDULE, steps=2))
    maps = [gradient(), *(SALIENCY[f"map: {name}"] for name in ("random (control)", "random, multiplied", "segmenter (upper bound)"))]
    methods = [FOUR_STEPS, replace(FOUR_STEPS, few_steps=False), *(quick(method, iterations=2, returned="last") for method in maps)]
    assert len({run(demo, method)[1] for method in methods}) == len(methods)


def test_a_jobs_images_are_kept_as_one_strip(demo: Demo, tmp_path: Path) -> None:
    owner = DemoOwner(partial(images_of, {"m": Method(steps=4)}), tmp_path)
    owner.demo = demo
    record = owner.do(job := Job(0, 0, tuple(PROMPTS), "m"))
    expected = demo.run(Method(steps=4), PROMPTS, job.seed, demo.noise(PROMPTS, 0))[1]
    (strip,) = record["files"].values()
    levels = (torch.cat([*expected], dim=2).clamp(0, 1) * 255).round().movedim(0, -1)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(strip))), levels)


def test_a_random_map_covers_its_range() -> None:
    map_ = random_map(7)
    assert (map_.shape, map_.min(), map_.max()) == ((1, 1, 64, 64), 0, 1)
    assert torch.equal(map_, random_map(7))


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
    store, jobs = Store(tmp_path, {}), plan(chunks("tune", 20), 1, ["m", "half done"])
    for job in jobs[:3]:
        strip = Image.fromarray(np.arange(CHUNK, dtype=np.uint8).repeat(64)[None].repeat(64, 0) + 10 * job.place).convert("RGB")
        strip.save(tmp_path / f"{job.key}.png")
        store.add(job, {"rows": [{"prompt": text} for text in job.prompts], "image": f"{job.key}.png"})
    rows = tables.frame(store, jobs, 13, {"m": "a name", "half done": "another"})
    assert [*rows.prompt] == draw_prompts("tune", 13)
    assert set(rows.method) == {"a name"}  # the other's images are not all there
    assert [tables.image_of(store, *rows.iloc[i][["image", "column"]]).getpixel((5, 5)) for i in (0, 12)] == [(0, 0, 0), (12, 12, 12)]


def test_the_tables_say_how_many_against_what_and_of_which_kind() -> None:
    lines = tables.comparison_table(IMAGES, "best of 31").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")][2:] for line in lines[2:]}
    assert list(cells) == ["plain", "best of 31", "gradient"]
    assert cells["gradient"] == ["90.0 (70 to 97)", "248", "10", "2.48", "+20.0 (-0 to +37)", "4 / 0", "0.125", "0.125", "0.900", ""]
    assert cells["plain"][5:8] == ["0 / 6", "0.031", "0.062"]
    assert cells["best of 31"][4] == ""
    _, plain, *kinds = tables.kinds_table(IMAGES).splitlines()[2].split("|")
    assert plain == " plain "
    assert np.mean([float(cell) for cell in kinds[:5]]) == pytest.approx(40, abs=1)  # 8 of 20


def test_methods_are_told_apart_by_what_they_are_named_or_written_as_expressions() -> None:
    assert all(len({method.fingerprint() for method in group.values()}) == len(group) for group in GROUPS.values())
    found = chosen(["rescored(0.06)", "rescored()"], ["contenders"])
    assert list(found)[:3] == ["plain", "best of 31", "rescored(0.06)"]
    assert found["rescored(0.06)"] == rescored(0.06)
    assert "gradient, rescored" not in found  # which is the other name of one that was asked for first
    assert found["rescored(0.06)"] == chosen(["replace(rescored(0.06), cfg=3.0)"], [])["replace(rescored(0.06), cfg=3.0)"]
    others = ["rescored(regularizer=WhiteNoise())", "salient(DEFAULT, region='multiply')", "gradient(calls=JacobianSchedule('last', 4))"]
    assert len(chosen(others, [])) == 2 + len(others)
    for nonsense in ("rescored(", "iterations", "7", "rescored(nothing=1)", "().__class__", "open('a')"):
        with pytest.raises(SetupProblem, match="no method"):
            chosen([nonsense], [])


def test_the_report_has_tables_and_the_discordant_pairs(tmp_path: Path) -> None:
    Image.new("RGB", (64 * N, 64), (30, 30, 30)).save(tmp_path / "strip.png")
    report(Store(tmp_path, {}), IMAGES, tmp_path / "out")
    assert (tmp_path / "out" / "table.md").read_text().startswith("20 images\n")
    for name in ("gradient/sheet-01.jpg", "plain/sheet-01.jpg"):
        with Image.open(tmp_path / "out" / name) as image:
            assert np.asarray(image.convert("RGB")).std() > 5
    assert not (tmp_path / "out" / "best of 31").exists()
