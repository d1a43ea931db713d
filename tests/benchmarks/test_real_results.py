"""Plans, the folder that a run goes on from, and the table made of it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sgool.benchmarks.real.cost import equal_cost, plain_samples
from sgool.benchmarks.real.plan import METHODS, Job, Plan, read_prompts
from sgool.benchmarks.real.results import LINES, Results
from sgool.benchmarks.real.sheets import write_sheets
from sgool.benchmarks.real.table import by_prompt, calls, write_table
from sgool.benchmarks.real.work import cost_of
from sgool.harness.problems import SetupProblem

PLAN = Plan("sd15.safetensors", ("a cat", "a dog", "two birds"), best_of=31, seeds=2, optimized_scorer="A", judging_scorers=("B", "pick"))
COST = {"runs": 11, "backwards": 10, "calls": 220}


def png(color: tuple[int, int, int]) -> bytes:
    contents = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(contents, "PNG")
    return contents.getvalue()


def record(job: Job, value: float, **more: Any) -> dict[str, Any]:
    names = {"image": f"images/{job.key}.png", "saliency": f"saliency/{job.key}.png"}
    return {
        "optimized": value,
        "scores": {"B": value / 2, "pick": value / 4},
        "cost": None if job.method == "plain" else COST,
        "seconds": 1.5,
        "device": "a card",
        **names,
        "files": {name: png((int(200 * value), 90, 90)) for name in names.values()},
        **more,
    }


def fill(results: Results, gain: float = 0.05, **more: Any) -> None:
    for job in results.missing():
        level = 0.2 + 0.01 * job.prompt_index + 0.001 * job.seed_number
        results.add(job, record(job, level + gain * METHODS.index(job.method), **more))


def test_jobs_have_the_same_seed_for_all_methods_and_another_for_each_prompt() -> None:
    jobs = PLAN.jobs()
    assert len(jobs) == 3 * 2 * len(METHODS)
    assert len({job.key for job in jobs}) == len(jobs)
    seeds = {(job.prompt_index, job.seed_number): set[int]() for job in jobs}
    for job in jobs:
        seeds[job.prompt_index, job.seed_number].add(job.seed)
    assert all(len(found) == 1 for found in seeds.values())
    assert len({found.pop() for found in seeds.values()}) == 6
    assert [job.method for job in jobs[: len(METHODS)]] == list(METHODS)  # whole prompts first


def test_prompts_are_lines_without_comments(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# mine\n\n a cat \n\ufeffa dog\n", encoding="utf-8")
    assert read_prompts(path) == ("a cat", "\ufeffa dog")
    assert read_prompts(path, 1) == ("a cat",)
    path.write_text("# nothing\n")
    with pytest.raises(SetupProblem, match="no prompts in it"):
        read_prompts(path)
    with pytest.raises(SetupProblem, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")


def test_a_run_goes_on_from_what_is_there_and_may_grow(tmp_path: Path) -> None:
    first = Results(tmp_path, PLAN)
    for job in first.missing()[:4]:
        first.add(job, record(job, 0.3))
    again = Results(tmp_path, replace(PLAN, prompts=(*PLAN.prompts, "a fourth"), seeds=3))
    assert len(again.missing()) == 4 * 3 * len(METHODS) - 4
    assert not {job.key for job in again.missing()} & set(first.records)
    assert (tmp_path / "images" / f"{first.plan.jobs()[0].key}.png").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 30}, "steps was 20 and is 30"),
        ({"best_of": 5}, "best_of was 31 and is 5"),
        ({"default": {"preset": "another"}}, "default was {} and is"),
        ({"judging_scorers": ("B",)}, "judging_scorers was"),
        ({"prompts": ("a cat", "a bird")}, "prompt 2 was 'a dog' and is 'a bird'"),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    Results(tmp_path, PLAN)
    with pytest.raises(SetupProblem, match=sentence):
        Results(tmp_path, replace(PLAN, **changes))


def test_a_line_that_was_cut_off_costs_one_job_and_no_more(tmp_path: Path) -> None:
    results = Results(tmp_path, PLAN)
    jobs = PLAN.jobs()
    for job in jobs[:3]:
        results.add(job, record(job, 0.3))
    lines = (tmp_path / LINES).read_bytes()
    (tmp_path / LINES).write_bytes(lines[:-20])
    again = Results(tmp_path, PLAN)
    assert [job.key for job in again.missing()[:2]] == [jobs[2].key, jobs[3].key]
    again.add(jobs[2], record(jobs[2], 0.4))
    assert Results(tmp_path, PLAN).records[jobs[2].key]["optimized"] == 0.4
    assert len((tmp_path / LINES).read_text().splitlines()) == 4


def test_what_failed_is_not_tried_again_unless_asked_for(tmp_path: Path) -> None:
    results = Results(tmp_path, PLAN)
    job = PLAN.jobs()[0]
    results.add(job, {"failed": "Allocation on device"})
    again = Results(tmp_path, PLAN)
    assert job not in again.missing()
    assert job in again.missing(retry_failed=True)
    assert again.of("plain") == {}
    assert "Allocation on device (1 images" in write_table(again)


def test_the_table_has_means_differences_and_costs(tmp_path: Path) -> None:
    results = Results(tmp_path, PLAN)
    fill(results)
    text = write_table(results)
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}
    # The mean of levels .20 to .221 is .2105; B is half of that, and 100 times the cosine is shown.
    plain = "| plain | 6 | 10.53 [10.03, 11.03] | 5.26 [5.01, 5.51] | 21.05 [20.05, 22.05] | 20 | 1.5 |"
    assert plain in text
    assert "| winner" not in text
    assert "| this pack's default | 6 | 23.0" in text
    # Every pair gains the same: the interval has no width, and each image is better.
    assert "| best of 31 | 6 | +2.50 [+2.50, +2.50], better in 6 | +1.25 [+1.25, +1.25], better in 6 | +5.00" in text
    assert "Differences from best of 31" in text
    assert "Differences from EDICT, not optimized" in text
    assert rows["DOODL"].count("better in 6") == 3
    assert "Warning" not in text
    assert "36 of 36 images are there" in text


def test_the_table_warns_of_a_judge_that_was_optimized(tmp_path: Path) -> None:
    results = Results(tmp_path, replace(PLAN, judging_scorers=("B", "A", "pick")))
    assert "Warning: A is both optimized and judging" in write_table(results)
    nobody = Results(tmp_path / "other", replace(PLAN, judging_scorers=()))
    assert "no scorer here but the one that was optimized" in write_table(nobody)


def test_the_judge_of_the_embedded_model_is_counted_in_pairs(tmp_path: Path) -> None:
    results = Results(tmp_path, replace(PLAN, checkpoint="demo", optimized_scorer="", judging_scorers=()))
    for job in results.missing():
        right = job.method == "winner" or job.prompt_index == 0
        results.add(job, record(job, 0.3, verdict="right (sees it)" if right else "wrong: another number of objects (sees nothing)"))
    text = write_table(results)
    assert "| 33.3 % [9.7, 70.0] |" in text  # Wilson's interval of 2 in 6
    assert "| this pack's default | 6 | 4 | 0 | 0.125 | 0.625 |" in text  # two-sided: 2 / 2**4, times five comparisons
    assert "no scorer here" in text


def test_seeds_of_one_prompt_are_one_sample() -> None:
    assert by_prompt({(0, 0): 1.0, (0, 1): 3.0, (2, 0): 5.0}) == [2.0, 5.0]


def test_the_estimate_counts_forwards_and_backwards() -> None:
    assert plain_samples(PLAN, "plain") == 1
    assert plain_samples(PLAN, "best-of-N") == 31
    assert plain_samples(PLAN, "EDICT") == 5  # 50 steps of two calls, against 20
    assert plain_samples(PLAN, "DOODL") == 151 * 5
    assert plain_samples(replace(PLAN, iterations=10), "SGOOL") == 31 * 5
    assert plain_samples(replace(PLAN, iterations=4), "winner") >= 13
    assert equal_cost(4, 20) == plain_samples(replace(PLAN, iterations=4), "winner")


def test_cost_counts_a_backward_as_two() -> None:
    cost = cost_of("Image 1\n...\n\n11 sampler runs, 10 of them differentiated, 11 evaluations, 220 model calls")
    assert cost == COST
    assert calls(PLAN, {"cost": cost, "method": "DOODL"}) == 20 * 31
    half = replace(PLAN, default={"jacobian": {"choice": "every", "count": 2}})
    assert calls(half, {"cost": cost, "method": "winner"}) == 20 * 21
    assert cost_of("nothing was sampled") is None
    assert calls(PLAN, {"cost": None, "method": "plain"}) is None


def test_sheets_show_every_prompt_with_every_method(tmp_path: Path) -> None:
    results = Results(tmp_path, replace(PLAN, seeds=3))
    jobs = results.missing()
    for job in jobs[:-1]:  # the last image is not there yet
        results.add(job, record(job, 0.3 + 0.1 * METHODS.index(job.method)))
    sheets = write_sheets(results)
    assert [sheet.name for sheet in sheets] == ["sheet-01.jpg", "sheet-02.jpg"]
    with Image.open(sheets[0]) as first:
        assert first.size[0] == 8 + 6 * 232
        pixels = [first.getpixel((8 + 232 * column + 112, 150)) for column in range(6)]
    reds = [pixel[0] for pixel in pixels if isinstance(pixel, tuple)]
    assert reds == sorted(reds)  # the colors of the six methods, in the table's order
    assert reds[-1] - reds[0] > 80


def test_the_lines_are_json_that_others_can_read(tmp_path: Path) -> None:
    results = Results(tmp_path, PLAN)
    job = PLAN.jobs()[0]
    results.add(job, record(job, 0.25))
    line = json.loads((tmp_path / LINES).read_text())
    assert line["key"] == "0000-00-plain"
    assert line["prompt"] == "a cat"
    assert line["scores"] == {"B": 0.125, "pick": 0.0625}
    assert "files" not in line
