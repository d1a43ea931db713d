"""Jobs spread over dask's workers that are killed, lose their servers, fail and stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import pytest
from sgool.benchmarks.common import spread as spread_module
from sgool.benchmarks.common.jobs import Job, Record, Store, plan
from sgool.benchmarks.common.spread import Owner, spread
from sgool.harness.client import RunFailed, RunLost, describe_outage
from sgool.harness.pack import ROOT
from sgool.harness.problems import SetupProblem

JOBS = plan([(f"prompt {number}",) for number in range(8)], 1, ["plain"])
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # dask's workers cannot import the tests


class Toy(Owner):
    """Its server is away while there is a file with its name, and lacks something while the file has text in it."""

    def __init__(self, folder: Path, delay: float = 0.1, fails: str = "") -> None:
        self.folder, self.delay, self.fails = folder, delay, fails

    def bring(self, place: str) -> None:
        self.place = place
        self._look()

    def do(self, job: Job) -> Record:
        end = time.monotonic() + self.delay
        while time.monotonic() < end and not self.leaving.is_set():
            time.sleep(0.02)
            self._look()
        if self.fails:
            raise RunFailed(self.fails, "1", "KSampler")
        return {"worker": self.place, "pid": os.getpid()}

    def release(self) -> None:
        (self.folder / f"released {self._worker.name}").touch()  # one that got no job too

    def _look(self) -> None:
        file = self.folder / self.place
        if file.exists():
            if text := file.read_text():
                raise SetupProblem(text)
            raise ConnectionRefusedError


class Interrupted(Toy):
    """Somebody stops each of its runs."""

    def do(self, job: Job) -> Record:
        with (self.folder / "attempts").open("a") as file:
            file.write(f"{job.key}\n")
        raise RunFailed("stopped", interrupted=True)


class Kept:
    """Takes records into a store and lines into a list."""

    def __init__(self, folder: Path) -> None:
        self.store, self.order, self.lines = Store(folder / "kept", {}), list[str](), list[str]()

    def keep(self, job: Job, record: Record) -> None:
        self.store.add(job, record)
        self.order.append(job.key)
        if len(self.order) == 2:
            self.after_two()

    def after_two(self) -> None:
        """What happens in the middle of a run."""

    def run(self, jobs: list[Job], owner: Owner, **options: Any) -> None:
        spread(self.store.missing(jobs), owner, self.keep, self.lines.append, **{"workers": 2, "patience": 30.0, **options})

    def said(self, what: str) -> bool:
        return any(what in line for line in self.lines)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers without ComfyUI, which the other tests have, and short pauses."""
    light = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from harness.pack import load_pack; load_pack()"
    monkeypatch.setattr(spread_module, "PRELOAD", light)
    monkeypatch.setattr(spread_module, "TICK", 0.05)


def test_two_workers_one_killed_in_the_middle_nothing_lost_nothing_twice(kept: Kept, tmp_path: Path) -> None:
    def kill_one() -> None:
        os.kill(kept.store.records[kept.order[0]]["pid"], signal.SIGKILL)

    kept.after_two = kill_one  # type: ignore[method-assign]
    kept.run(JOBS, Toy(tmp_path, delay=0.3))
    assert sorted(kept.order) == [job.key for job in JOBS]
    records = kept.store.records.values()
    assert {record["worker"] for record in records} == {"0", "1"}
    assert not any("failed" in record for record in records)
    assert len((tmp_path / "kept" / "results.jsonl").read_text().splitlines()) == len(JOBS)
    kept.run(JOBS, Toy(tmp_path))  # resumed: there is nothing to do
    assert len(kept.order) == len(JOBS)
    assert (tmp_path / "released 0").exists()
    assert (tmp_path / "released 1").exists()


def test_a_worker_whose_server_goes_away_gets_no_jobs_until_it_is_back(kept: Kept, tmp_path: Path) -> None:
    away = tmp_path / "0"
    jobs = plan([(f"prompt {number}",) for number in range(12)], 1, ["plain"])
    kept.after_two = away.touch  # type: ignore[method-assign]

    def bring_back() -> None:
        while not kept.said("worker 0 is set aside: nobody listens there"):
            time.sleep(0.02)
        away.unlink()

    threading.Thread(target=bring_back, daemon=True).start()
    kept.run(jobs, Toy(tmp_path, delay=0.4))
    assert sorted(kept.order) == [job.key for job in jobs]
    assert kept.said("worker 0 is back.")


def test_it_gives_up_when_nobody_can_work_and_keeps_what_there_is(kept: Kept, tmp_path: Path) -> None:
    kept.after_two = (tmp_path / "0").touch  # type: ignore[method-assign]
    with pytest.raises(SetupProblem, match="nobody could work for"):
        kept.run(JOBS, Toy(tmp_path), workers=1, patience=0.3)
    assert kept.order == [job.key for job in JOBS[:2]]
    (tmp_path / "0").write_text("it offers no ckpt_name 'a'")
    with pytest.raises(SetupProblem, match=r"no server can be used\.\n.*it offers no ckpt_name 'a'"):
        kept.run(JOBS, Toy(tmp_path), workers=1)


def test_what_fails_is_recorded_with_its_sentence_and_many_in_a_row_end_the_run(kept: Kept, tmp_path: Path) -> None:
    jobs = plan([(f"prompt {number}",) for number in range(20)], 1, ["plain"])
    with pytest.raises(SetupProblem, match="10 jobs failed one after the other, the last with: Allocation on device"):
        kept.run(jobs, Toy(tmp_path, delay=0, fails="Allocation on device"), workers=1)
    assert [record["failed"] for record in kept.store.records.values()] == ["Allocation on device"] * 10
    assert kept.store.records[jobs[0].key]["node"] == "KSampler"


def test_a_job_that_is_lost_again_and_again_is_given_up(kept: Kept, tmp_path: Path) -> None:
    kept.run(JOBS[:1], Interrupted(tmp_path), workers=1)
    assert kept.store.records[JOBS[0].key]["failed"] == "given up after 5 attempts; the last time it was interrupted"
    assert (tmp_path / "attempts").read_text().split() == [JOBS[0].key] * 5


def test_a_problem_of_ours_is_not_taken_for_a_servers(kept: Kept, tmp_path: Path) -> None:
    def full(job: Job, record: Record) -> None:
        raise OSError(28, "No space left on device")

    kept.keep = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space left"):
        kept.run(JOBS, Toy(tmp_path), workers=1)
    assert (tmp_path / "released 0").exists()


def test_a_scheduler_that_is_not_there_is_a_sentence(kept: Kept, tmp_path: Path) -> None:

    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}), pytest.raises(SetupProblem, match="no dask scheduler at"):
        kept.run(JOBS, Toy(tmp_path), scheduler="tcp://127.0.0.1:9")


def test_troubles_are_named_in_words() -> None:
    assert describe_outage(ConnectionRefusedError(111, "refused")) == "nobody listens there"
    assert describe_outage(TimeoutError()) == "it does not answer in time"
    assert describe_outage(RunLost("x")) == "it was restarted, or its queue was cleared"


@pytest.mark.slow
def test_a_cluster_whose_scheduler_does_not_have_the_pack(kept: Kept, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    common = {"cwd": tmp_path, "stderr": subprocess.DEVNULL}
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--name", "one", "--nthreads", "1", "--memory-limit", "0"]
    with (
        subprocess.Popen(scheduler, **common) as first,
        subprocess.Popen([*worker, "--preload", spread_module.PRELOAD], **common) as second,
    ):
        try:
            kept.run(JOBS, Toy(tmp_path), scheduler=address)
        finally:
            second.terminate()
            second.wait(30)
            first.terminate()
    assert {record["worker"] for record in kept.store.records.values()} == {"one"}
    assert (tmp_path / "released one").exists()
