"""Jobs spread over dask's workers that are killed, lose their servers, fail and stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import dask
import pytest
from distributed import SubprocessCluster, Worker
from sgool.benchmarks.common import spread as spread_module
from sgool.benchmarks.common.jobs import Job, Record, Store, plan
from sgool.benchmarks.common.spread import Owner, spread
from sgool.harness.client import RunFailed
from sgool.harness.pack import ROOT
from sgool.harness.problems import SetupProblem

JOBS = plan([(f"prompt {number}",) for number in range(8)], 1, ["plain"])
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # dask's workers cannot import the tests


class Toy(Owner):
    """Its server is away while there is a file with its name, and lacks something while the file has text in it."""

    def __init__(self, folder: Path, delay: float = 0.1, error: RunFailed | None = None) -> None:
        self.folder, self.delay, self.error = folder, delay, error

    def bring(self, place: str) -> None:
        self.place = place
        self._look()

    def do(self, job: Job) -> Record:
        with (self.folder / "attempts").open("a") as file:
            file.write(f"{job.key}\n")
        time.sleep(self.delay)
        self._look()
        if self.error:
            raise self.error
        return {"worker": self.place, "pid": os.getpid()}

    def teardown(self, worker: Worker) -> None:
        (self.folder / f"released {worker.name}").touch()  # one that got no job too

    def _look(self) -> None:
        file = self.folder / self.place
        if file.exists():
            raise SetupProblem(file.read_text()) if file.read_text() else ConnectionRefusedError


class Kept(Store):
    """Notes in which order records come, and what is said."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {})
        self.order, self.lines, self.after_two = list[str](), list[str](), lambda: None

    def add(self, job: Job, record: Record) -> None:
        super().add(job, record)
        self.order.append(job.key)
        if len(self.order) == 2:
            self.after_two()

    def said(self, what: str) -> bool:
        return any(what in line for line in self.lines)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    made = Kept(tmp_path / "kept")
    monkeypatch.setattr(spread_module.tqdm, "write", made.lines.append)
    return made


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers without ComfyUI, which the other tests have."""
    light = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from harness.pack import load_pack; load_pack()"
    monkeypatch.setattr(spread_module, "PRELOAD", light)


def test_two_workers_one_killed_in_the_middle_nothing_lost_nothing_twice(kept: Kept, tmp_path: Path) -> None:
    def kill_one() -> None:
        os.kill(kept.records[kept.order[0]]["pid"], signal.SIGKILL)

    kept.after_two = kill_one
    spread(kept, JOBS, Toy(tmp_path, delay=0.3), workers=2)
    assert sorted(kept.order) == [job.key for job in JOBS]
    records = kept.records.values()
    assert {record["worker"] for record in records} == {"0", "1"}
    assert not any("failed" in record for record in records)
    assert len((tmp_path / "kept" / "results.jsonl").read_text().splitlines()) == len(JOBS)
    assert (tmp_path / f"released {kept.records[kept.order[-1]]['worker']}").exists()
    spread(kept, JOBS, Toy(tmp_path))  # resumed: there is nothing to do
    assert len(kept.order) == len(JOBS)


def test_a_worker_whose_server_goes_away_gets_no_jobs_until_it_is_back(kept: Kept, tmp_path: Path) -> None:
    away = tmp_path / "0"
    jobs = plan([(f"prompt {number}",) for number in range(12)], 1, ["plain"])
    kept.after_two = away.touch

    def bring_back() -> None:
        while not kept.said("worker 0 is set aside: nobody listens there"):
            time.sleep(0.02)
        away.unlink()

    threading.Thread(target=bring_back, daemon=True).start()
    spread(kept, jobs, Toy(tmp_path, delay=0.4), workers=2)
    assert sorted(kept.order) == [job.key for job in jobs]
    assert kept.said("worker 0 is back.")


def test_a_worker_that_lacks_something_ends_the_run_with_its_sentence(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "0").write_text("it offers no ckpt_name 'a'")
    with pytest.raises(SetupProblem, match="worker 0: it offers no ckpt_name 'a'"):
        spread(kept, JOBS, Toy(tmp_path))
    assert not kept.order


def test_what_fails_is_recorded_with_its_sentence_and_many_in_a_row_end_the_run(kept: Kept, tmp_path: Path) -> None:
    jobs = plan([(f"prompt {number}",) for number in range(20)], 1, ["plain"])
    with pytest.raises(SetupProblem, match="10 jobs failed one after the other, the last with: Allocation on device"):
        spread(kept, jobs, Toy(tmp_path, delay=0, error=RunFailed("Allocation on device", "1", "KSampler")))
    assert [record["failed"] for record in kept.records.values()] == ["Allocation on device"] * 10
    assert kept.records[jobs[0].key]["node"] == "KSampler"


def test_a_job_that_is_lost_again_and_again_is_given_up(kept: Kept, tmp_path: Path) -> None:
    spread(kept, JOBS[:1], Toy(tmp_path, error=RunFailed("stopped", interrupted=True)))
    assert kept.records[JOBS[0].key]["failed"] == "given up after 5 attempts; the last time it was interrupted"
    assert (tmp_path / "attempts").read_text().split() == [JOBS[0].key] * 5


def test_a_problem_of_ours_is_not_taken_for_a_servers(kept: Kept, tmp_path: Path) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    kept.after_two = full
    with pytest.raises(OSError, match="No space left"):
        spread(kept, JOBS, Toy(tmp_path))
    assert (tmp_path / "released 0").exists()


def test_a_scheduler_that_is_not_there_is_a_sentence(kept: Kept, tmp_path: Path) -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}), pytest.raises(SetupProblem, match="no dask scheduler at"):
        spread(kept, JOBS, Toy(tmp_path), scheduler="tcp://127.0.0.1:9")


@pytest.mark.slow
def test_a_cluster_whose_scheduler_does_not_have_the_pack(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"name": "one", "preload": [spread_module.PRELOAD], "memory_limit": 0}
    with SubprocessCluster(n_workers=1, threads_per_worker=1, worker_kwargs=options, dashboard_address=":0") as cluster:
        spread(kept, JOBS, Toy(tmp_path), scheduler=cluster.scheduler_address)
    assert len(kept.order) == len(JOBS)
    assert not any("failed" in record for record in kept.records.values())
    assert (tmp_path / "released one").exists()
