"""Jobs, and the folder that a run goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sgool.benchmarks.common.jobs import LINES, Store, plan
from sgool.harness.problems import SetupProblem

METHODS = ["plain", "gradient"]
JOBS = plan([("a cat",), ("a dog",), ("two birds",)], 2, METHODS)
SETTINGS: dict[str, Any] = {"steps": 20, "prompts": ("a cat", "a dog"), "default": {}}


def test_jobs_have_the_same_seed_for_all_methods_and_another_for_each_prompt() -> None:
    assert len({job.key for job in JOBS}) == len(JOBS) == 3 * 2 * 2
    seeds = {(job.place, job.seed_number): {other.seed for other in JOBS if other.key[:7] == job.key[:7]} for job in JOBS}
    assert all(len(found) == 1 for found in seeds.values())
    assert len({found.pop() for found in seeds.values()}) == 6
    assert [job.method for job in JOBS[:2]] == METHODS  # whole prompts first


def test_a_run_goes_on_from_what_is_there_and_may_grow(tmp_path: Path) -> None:
    first = Store(tmp_path, SETTINGS)
    for job in JOBS[:4]:
        first.add(job, {"score": 0.3, "files": {f"images/{job.key}.png": b"an image"}})
    again = Store(tmp_path, {**SETTINGS, "prompts": ("a cat", "a dog", "two birds")})
    assert again.missing(JOBS) == JOBS[4:]
    assert (tmp_path / "images" / "0001-00-gradient.png").read_bytes() == b"an image"
    lines = [json.loads(line) for line in (tmp_path / LINES).read_text().splitlines()]
    own = {"key": "0000-00-plain", "place": 0, "seed_number": 0, "prompts": ["a cat"], "method": "plain"}
    assert lines[0] == {**own, "score": 0.3}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 30}, "other settings: steps 20."),
        ({"default": {"preset": "another"}}, r"other settings: default \{\}\."),
        ({"prompts": ("a cat", "a bird")}, r"other settings: prompts \['a cat', 'a dog'\]\."),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    Store(tmp_path, SETTINGS)
    with pytest.raises(SetupProblem, match=sentence):
        Store(tmp_path, {**SETTINGS, **changes})


def test_a_folder_that_is_damaged_or_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / LINES).write_text("{}\n")
    with pytest.raises(SetupProblem, match=r"has a results.jsonl, but no settings.json"):
        Store(tmp_path, SETTINGS)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(SetupProblem, match="is damaged"):
        Store(tmp_path, SETTINGS)


def test_a_line_that_was_cut_off_costs_one_job_and_no_more(tmp_path: Path) -> None:
    store = Store(tmp_path, SETTINGS)
    for job in JOBS[:3]:
        store.add(job, {"score": 0.3})
    lines = (tmp_path / LINES).read_bytes()
    (tmp_path / LINES).write_bytes(lines[:-20])
    again = Store(tmp_path, SETTINGS)
    assert again.missing(JOBS) == JOBS[2:]
    again.add(JOBS[2], {"score": 0.4})
    assert Store(tmp_path, SETTINGS).records[JOBS[2].key]["score"] == 0.4
    assert len((tmp_path / LINES).read_text().splitlines()) == 4


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    Store(tmp_path, SETTINGS).add(JOBS[0], {"failed": "Allocation on device"})
    again = Store(tmp_path, SETTINGS)
    assert again.missing(JOBS) == JOBS
    assert again.of(JOBS) == []
    again.add(JOBS[0], {"score": 0.3})
    assert again.missing(JOBS) == JOBS[1:]
