"""Jobs spread over dask's workers, each of which owns what it works with: a ComfyUI server, or a loaded model.

dask restarts workers that die, gives their jobs to others and tries again what was lost. Here is only what it cannot know: that a worker
whose server is away hands its job back and is paused until it has looked for it again.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any
from unittest import mock

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Reschedule, Status, Worker, as_completed, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from sgool.harness.client import OUTAGE, RunFailed, describe_outage
from sgool.harness.pack import ROOT
from sgool.harness.problems import SetupProblem
from tqdm import tqdm

from .jobs import Job, Record, Store

NAME = "sgool-bench"
# What a worker's process runs first, so that `import sgool` and `import comfy` work there.
PRELOAD = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import harness.script; harness.script.prepare()"
MOST_ATTEMPTS, MOST_FAILURES = 5, 10  # of one job; of jobs one after the other
PAUSE = 2.0  # seconds


class Lost(Exception):
    """A job whose server went away, or was interrupted by somebody. dask tries it again, elsewhere if it can."""


class Owner(WorkerPlugin):
    """One on each worker. It owns something, and does jobs with it, one at a time. dask calls ``teardown`` when the worker or the run ends,
    in the middle of a job too: there it is to let go of everything.

    Attributes:
        label: what messages call it.
    """

    name, label = NAME, ""

    def bring(self, place: str) -> None:
        """Get what is owned, in the worker called ``place`` (its number on this machine), before its first job and after an outage.

        Raises one of OUTAGE where it is away, which is tried again, or SetupProblem where it lacks something, which ends the run.
        """

    def do(self, job: Job) -> Record:
        """Do a job. May raise RunFailed, which is recorded, or one of OUTAGE: what is owned is away, and the job is tried again."""
        raise NotImplementedError

    def setup(self, worker: Worker) -> None:
        """By dask, when the worker has started."""
        self._worker, self._ready, self._trouble, self.label = worker, False, "", f"worker {worker.name}"

    def attempt(self, *plain: Any) -> Record:
        """``do`` the job of these values, with what that raises as dask is to understand it."""
        try:
            if not self._ready:
                self.bring(str(self._worker.name))
        except SetupProblem as problem:
            return {"unfit": f"{self.label}: {problem}"}
        except OUTAGE as error:
            self._tell(describe_outage(error))
            self._worker.loop.add_callback(self._pause)
            raise Reschedule from None
        self._ready = True
        self._tell("")
        try:
            return self.do(Job(*plain))
        except RunFailed as failure:
            if failure.interrupted:
                raise Lost("it was interrupted") from None
            return {"failed": str(failure), "node": failure.node_type}
        except OUTAGE as error:
            self._ready = False
            raise Lost(f"its server went away ({describe_outage(error)})") from None

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._worker.log_event(NAME, f"{self.label} is set aside: {trouble}" if trouble else f"{self.label} is back.")
        self._trouble = trouble

    def _pause(self) -> None:
        """In dask's thread: a worker that is paused gets no jobs."""

        def go_on() -> None:
            if self._worker.status == Status.paused:  # and not about to end
                self._worker.status = Status.running

        self._worker.status = Status.paused
        self._worker.loop.call_later(PAUSE, go_on)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where jobs are done: what :func:`spread` takes."""
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="0: run nothing, tell what the folder holds")
    parser.add_argument("--scheduler", default="", metavar="tcp://HOST:PORT", help="use the workers of this dask scheduler instead")


def spread(store: Store, jobs: Sequence[Job], owner: Owner, workers: int = 1, scheduler: str = "") -> None:
    """Do what is missing of ``jobs``, each job once, and keep what comes of it. Whatever ends it, the servers are left without our runs.

    Args:
        owner: is sent to each worker.
        workers: processes on this machine, where no scheduler is given; with 0 nothing is done.
        scheduler: the address of a dask scheduler, whose workers are used: ``tcp://...``.

    Raises:
        SetupProblem: a worker lacks what is needed, or one job after the other failed.
    """
    missing = store.missing(jobs)
    print(f"{len(missing)} jobs to do, {len(jobs) - len(missing)} are done already.", flush=True)
    if not missing or not (workers or scheduler):
        return
    left, under_way, failures = iter(missing), dict[Future, Job](), 0
    with _connected(workers, scheduler) as client, tqdm(total=len(missing), unit="job") as progress:
        done = as_completed()

        # A local function and plain values travel whole: the scheduler, which unpacks them, need not have this pack.
        def do(*plain: Any) -> Record:
            return get_worker().plugins[NAME].attempt(*plain)

        def submit() -> None:
            """As many as there are workers and no more, so that none waits for one that is busy."""
            while len(under_way) < max(1, len(client.nthreads())) and (job := next(left, None)):
                plain = job.place, job.seed_number, job.prompts, job.method
                under_way[future := client.submit(do, *plain, pure=False, retries=MOST_ATTEMPTS - 1)] = job
                done.add(future)

        client.subscribe_topic(NAME, lambda event: tqdm.write(event[1]))
        client.register_plugin(owner)
        try:
            submit()
            for future in done:
                job, record = under_way.pop(future), _record_of(future)
                store.add(job, record)
                progress.update()
                failures = failures + 1 if "failed" in record else 0
                if failures:
                    tqdm.write(f"{job.key} failed: {record['failed']}")
                if failures >= MOST_FAILURES:
                    raise SetupProblem(f"{MOST_FAILURES} jobs failed one after the other, the last with: {record['failed']}")
                submit()
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be what went away
                client.cancel(list(under_way))
                client.unregister_worker_plugin(NAME)


def _record_of(future: Future) -> Record:
    if future.cancelled():
        raise SetupProblem("the dask scheduler went away. What was done is kept; the same command goes on from there.")
    error = future.exception()
    if isinstance(error, (Lost, KilledWorker)):
        why = str(error) if isinstance(error, Lost) else "its worker died"
        return {"failed": f"given up after {MOST_ATTEMPTS} attempts; the last time {why}"}
    record: Record = future.result()  # an error of ours is raised as it is
    if "unfit" in record:
        raise SetupProblem(record["unfit"])
    return record


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Processes that are spawned import the main module again, if it has a file. Ours must not: they have ``PRELOAD``."""
    with mock.patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
        yield


@contextlib.contextmanager
def _connected(workers: int, scheduler: str) -> Iterator[Client]:
    with contextlib.ExitStack() as stack:
        if not scheduler:
            stack.enter_context(without_main())
            stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": MOST_ATTEMPTS - 1}))
            # Without a limit dask leaves memory alone, and nothing but us pauses a worker.
            options: dict[str, Any] = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0", "preload": [PRELOAD]}
            scheduler = stack.enter_context(LocalCluster(n_workers=workers, silence_logs=logging.CRITICAL, **options))
        try:
            client = stack.enter_context(Client(scheduler))
        except OSError as error:
            raise SetupProblem(f"there is no dask scheduler at {scheduler}: {error}") from None
        yield client
