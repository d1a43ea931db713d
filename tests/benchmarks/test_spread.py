"""Jobs spread over dask's workers that are killed, lose their servers, fail and stop."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import pytest
from distributed import SubprocessCluster, Worker
from sgool.benchmarks.common import spread as spread_module
from sgool.benchmarks.common.jobs import LINES, Job, Record, Store, plan
from sgool.benchmarks.common.spread import MOST_ATTEMPTS, MOST_FAILURES, Owner, spread
from sgool.harness.client import RunFailed
from sgool.harness.pack import ROOT
from sgool.harness.problems import SetupProblem

JOBS = plan([(f"prompt {number}",) for number in range(12)], 1, ["plain"])
KEYS = [job.key for job in JOBS]
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # dask's workers cannot import the tests


class Toy(Owner):
    """Its server is away while there is a file with its name, and lacks something while the file has text in it.

    ``accident``: befalls it in the middle of the third job's first attempt; ``error``: of every job.
    """

    def __init__(self, folder: Path, accident: Callable[[Toy], None] | None = None, error: RunFailed | None = None) -> None:
        self.folder, self.accident, self.error = folder, accident, error

    def bring(self, place: str) -> None:
        self.file = self.folder / place
        self._look()

    def do(self, job: Job) -> Record:
        with (attempts := self.folder / "attempts").open("a") as file:
            file.write(f"{job.key}\n")
        if self.accident:
            time.sleep(0.3)
            if job == JOBS[2] and attempts.read_text().split().count(job.key) == 1:
                self.accident(self)
        self._look()
        if self.error:
            raise self.error
        return {"worker": self.file.name}

    def teardown(self, worker: Worker) -> None:
        (self.folder / f"released {worker.name}").touch()  # one that got no job too

    def _look(self) -> None:
        if self.file.exists():
            raise SetupProblem(self.file.read_text()) if self.file.read_text() else ConnectionRefusedError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "kept", {})


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said. Workers are without ComfyUI, which the other tests have."""
    lines = list[str]()
    light = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from harness.pack import load_pack; load_pack()"
    monkeypatch.setattr(spread_module, "PRELOAD", light)
    monkeypatch.setattr(spread_module.tqdm, "write", lines.append)
    return lines


def written(store: Store) -> list[dict[str, Any]]:
    """The records as they were written, each of them."""
    return [json.loads(line) for line in (store.folder / LINES).read_text().splitlines()]


def all_done_once(store: Store) -> bool:
    return sorted(line["key"] for line in written(store) if "failed" not in line) == KEYS


def test_two_workers_one_killed_in_the_middle_nothing_lost_nothing_twice(store: Store, tmp_path: Path) -> None:
    spread(store, JOBS, Toy(tmp_path, accident=lambda _: os.kill(os.getpid(), signal.SIGKILL)), workers=2)
    assert all_done_once(store)
    assert (tmp_path / "attempts").read_text().split().count(KEYS[2]) == 2
    assert {line["worker"] for line in written(store)} == {"0", "1"}
    assert (tmp_path / f"released {written(store)[-1]['worker']}").exists()
    spread(store, JOBS, Toy(tmp_path))  # resumed: there is nothing to do
    assert all_done_once(store)


def test_a_worker_whose_server_goes_away_gets_no_jobs_until_it_is_back(store: Store, tmp_path: Path, said: list[str]) -> None:
    def bring_back() -> None:
        while not any("is set aside: nobody listens there" in line for line in said):
            time.sleep(0.02)
        (place,) = [path for path in (tmp_path / "0", tmp_path / "1") if path.exists()]
        place.unlink()

    threading.Thread(target=bring_back, daemon=True).start()
    spread(store, JOBS, Toy(tmp_path, accident=lambda toy: toy.file.touch()), workers=2)
    assert all_done_once(store)
    assert [line.partition(" is ")[2] for line in said] == ["set aside: nobody listens there", "back."]


def test_a_worker_that_lacks_something_ends_the_run_with_its_sentence(store: Store, tmp_path: Path) -> None:
    (tmp_path / "0").write_text("it offers no ckpt_name 'a'")
    with pytest.raises(SetupProblem, match="worker 0: it offers no ckpt_name 'a'"):
        spread(store, JOBS, Toy(tmp_path))
    assert not store.records


def test_what_fails_is_recorded_with_its_sentence_and_many_in_a_row_end_the_run(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SetupProblem, match="10 jobs failed one after the other, the last with: Allocation on device"):
        spread(store, JOBS, Toy(tmp_path, error=RunFailed("Allocation on device", "1", "KSampler")))
    assert [(line["failed"], line["node"]) for line in written(store)] == [("Allocation on device", "KSampler")] * MOST_FAILURES


def test_a_job_that_is_lost_again_and_again_is_given_up(store: Store, tmp_path: Path) -> None:
    spread(store, JOBS[:1], Toy(tmp_path, error=RunFailed("stopped", interrupted=True)))
    assert store.records[KEYS[0]]["failed"] == "given up after 5 attempts; the last time it was interrupted"
    assert (tmp_path / "attempts").read_text().split() == KEYS[:1] * MOST_ATTEMPTS


def test_a_problem_of_ours_is_not_taken_for_a_servers(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "add", full)
    with pytest.raises(OSError, match="No space left"):
        spread(store, JOBS, Toy(tmp_path))
    assert (tmp_path / "released 0").exists()


def test_a_scheduler_that_is_not_there_is_a_sentence_and_no_worker_is_no_run(store: Store, tmp_path: Path) -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}), pytest.raises(SetupProblem, match="no dask scheduler at"):
        spread(store, JOBS, Toy(tmp_path), scheduler="tcp://127.0.0.1:9")
    spread(store, JOBS, Toy(tmp_path), workers=0)
    assert not store.records


@pytest.mark.slow
def test_a_cluster_whose_scheduler_does_not_have_the_pack(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"name": "one", "preload": [spread_module.PRELOAD], "memory_limit": 0}
    with SubprocessCluster(n_workers=1, threads_per_worker=1, worker_kwargs=options, dashboard_address=":0") as cluster:
        spread(store, JOBS, Toy(tmp_path), scheduler=cluster.scheduler_address)
    assert all_done_once(store)
    assert (tmp_path / "released one").exists()
