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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A run with the first three jobs done."""
    made = Store(tmp_path, SETTINGS)
    for job in JOBS[:3]:
        made.add(job, {"score": 0.3, "files": {f"images/{job.key}.png": b"an image"}})
    return made


def test_jobs_have_the_same_seed_for_all_methods_and_another_for_each_prompt() -> None:
    assert len({job.key for job in JOBS}) == len(JOBS) == 3 * 2 * 2
    seeds = {(job.place, job.seed_number, job.seed) for job in JOBS}
    assert len(seeds) == len({seed for _, _, seed in seeds}) == 6
    assert [job.method for job in JOBS[:2]] == METHODS  # whole prompts first


def test_a_run_goes_on_from_what_is_there_and_may_grow(store: Store) -> None:
    again = Store(store.folder, {**SETTINGS, "prompts": ("a cat", "a dog", "two birds")})
    assert again.missing(JOBS) == JOBS[3:]
    assert (store.folder / "images" / "0000-00-gradient.png").read_bytes() == b"an image"
    first = json.loads((store.folder / LINES).read_text().splitlines()[0])
    assert first == {"key": "0000-00-plain", "place": 0, "seed_number": 0, "prompts": ["a cat"], "method": "plain", "score": 0.3}


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (json.dumps({**SETTINGS, "steps": 30}), "other settings: steps 30."),
        (json.dumps({**SETTINGS, "default": {"preset": "a"}}), r"other settings: default \{'preset': 'a'\}\."),
        (json.dumps({**SETTINGS, "prompts": ["a cat", "a bird"]}), r"other settings: prompts \['a cat', 'a bird'\]\."),
        ("{", "is damaged"),
        (None, r"has a results.jsonl, but no settings.json"),
    ],
)
def test_a_folder_that_is_another_runs_or_damaged_is_refused(store: Store, theirs: str | None, sentence: str) -> None:
    (store.folder / "settings.json").unlink() if theirs is None else (store.folder / "settings.json").write_text(theirs)
    with pytest.raises(SetupProblem, match=sentence):
        Store(store.folder, SETTINGS)


def test_a_line_that_was_cut_off_costs_one_job_and_no_more(store: Store) -> None:
    path = store.folder / LINES
    path.write_bytes(path.read_bytes()[:-20])
    again = Store(store.folder, SETTINGS)
    assert again.missing(JOBS) == JOBS[2:]
    again.add(JOBS[2], {"score": 0.4})
    assert Store(store.folder, SETTINGS).records[JOBS[2].key]["score"] == 0.4
    assert len(path.read_text().splitlines()) == 4


def test_what_failed_is_tried_again(store: Store) -> None:
    store.add(JOBS[0], {"failed": "Allocation on device"})
    again = Store(store.folder, SETTINGS)
    assert again.missing(JOBS) == [JOBS[0], *JOBS[3:]]
    assert [record["key"] for record in again.of(JOBS)] == [job.key for job in JOBS[1:3]]
    again.add(JOBS[0], {"score": 0.3})
    assert again.missing(JOBS) == JOBS[3:]
