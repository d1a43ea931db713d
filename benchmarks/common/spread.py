"""Jobs spread over dask's workers, each of which owns what it works with: a ComfyUI server, or a loaded model.

dask restarts workers that die, gives their jobs to others and tries again what was lost. Here is only what it cannot know: that a worker
whose server is away gives its job back and steps aside, and when to give up.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from types import ModuleType
from typing import Any
from unittest import mock

import dask
import distributed
from distributed import Client, Future, KilledWorker, LocalCluster, Reschedule, Status, Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from sgool.harness.client import OUTAGE, RunFailed, describe_outage
from sgool.harness.pack import ROOT
from sgool.harness.problems import SetupProblem

from .jobs import Job, Record

NAME = "sgool-bench"
# What a worker's process runs first, so that `import sgool` and `import comfy` work there.
PRELOAD = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import harness.script; harness.script.prepare()"
MOST_ATTEMPTS = 5
MOST_FAILURES = 10
PAUSE, TICK = 2.0, 0.5


class Lost(Exception):
    """A job whose server went away, or was interrupted by somebody. dask tries it again, elsewhere if it can."""


class Owner(WorkerPlugin, ABC):
    """One on each worker. It owns something, and does jobs with it, one at a time."""

    name = NAME
    leaving: threading.Event

    def bring(self, place: str) -> None:
        """Get what is owned, in the worker called ``place`` (its number on this machine), before its first job and after an outage.

        Raises SetupProblem where it lacks something, or one of OUTAGE where it is away: both are tried again, until ``patience`` ends.
        """

    @abstractmethod
    def do(self, job: Job) -> Record:
        """Do a job. May raise RunFailed, which is recorded, or one of OUTAGE: what is owned is away, and the job is tried again."""

    def release(self) -> None:
        """Let go of everything, in the middle of a job too."""

    def label(self) -> str:
        """What messages call it."""
        return f"worker {self._worker.name}"

    def setup(self, worker: Worker) -> None:
        """By dask, when the worker has started."""
        self._worker, self._ready, self.leaving = worker, False, threading.Event()

    def teardown(self, worker: Worker) -> None:
        """By dask, when the worker ends or the run does."""
        self.leaving.set()
        self.release()

    def attempt(self, *plain: Any) -> Record:
        """``do`` the job of these values, with what that raises as dask is to understand it."""
        if not self._ready:
            self._get_ready()
        try:
            return self.do(Job(*plain))
        except RunFailed as failure:
            if failure.interrupted:
                raise Lost("it was interrupted") from None
            return {"failed": str(failure), "node": failure.node_type}
        except OUTAGE as error:
            self._ready, why = False, describe_outage(error)
            self._tell(why)
            raise Lost(f"its server went away ({why})") from None

    def _get_ready(self) -> None:
        """Or hand the job back, and take another in a moment."""
        try:
            self.bring(str(self._worker.name))
        except (SetupProblem, *OUTAGE) as error:
            unfit = isinstance(error, SetupProblem)
            self._tell(str(error) if unfit else describe_outage(error), unfit=unfit)
            self._worker.loop.add_callback(self._step_aside)
            raise Reschedule from None
        self._ready = True
        self._tell("")

    def _step_aside(self) -> None:
        """In dask's thread: a worker that is paused gets no jobs."""

        def step_back() -> None:
            if self._worker.status == Status.paused:  # and not about to end
                self._worker.status = Status.running

        self._worker.status = Status.paused
        self._worker.loop.call_later(PAUSE, step_back)

    def _tell(self, trouble: str, *, unfit: bool = False) -> None:
        self._worker.log_event(NAME, {"place": self.label(), "trouble": trouble, "unfit": unfit})


def spread(
    jobs: Sequence[Job],
    owner: Owner,
    keep: Callable[[Job, Record], None],
    say: Callable[[str], None],
    *,
    workers: int = 1,
    scheduler: str = "",
    patience: float = 3600.0,
) -> None:
    """Return when all jobs are done or have failed, each of them once. Whatever ends it, the servers are left without our runs.

    Args:
        owner: is sent to each worker.
        keep: is given each record as it comes, ``{"failed": sentence}`` among them; by this thread.
        say: is given lines for the user.
        workers: processes on this machine, where no scheduler is given.
        scheduler: the address of a dask scheduler, whose workers are used: ``tcp://...``.
        patience: seconds for which no worker may be able to work before this gives up.

    Raises:
        SetupProblem: no worker can work, none could in time, or one job after the other failed.
    """
    left, under_way, failures = deque(jobs), dict[Future, Job](), 0
    with _connected(workers, scheduler) as client:
        watch = _Watch(say, patience)
        client.subscribe_topic(NAME, lambda event: watch.told(**event[1]))
        client.register_plugin(owner)
        try:
            while left or under_way:
                there = len(client.nthreads())
                while left and len(under_way) < max(1, there):  # no more, so that none waits for one that is busy
                    job = left.popleft()
                    under_way[_submitted(client, job)] = job
                with contextlib.suppress(distributed.TimeoutError, CancelledError):
                    distributed.wait(list(under_way), timeout=TICK, return_when="FIRST_COMPLETED")
                for future in [each for each in under_way if each.done()]:
                    record = _record_of(future)
                    keep(under_way.pop(future), record)
                    failures = failures + 1 if "failed" in record else 0
                    if failures >= MOST_FAILURES:
                        raise SetupProblem(f"{MOST_FAILURES} jobs failed one after the other, the last with: {record['failed']}")
                watch.check(there)
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be what went away
                client.cancel(list(under_way))
                client.unregister_worker_plugin(NAME)


def _submitted(client: Client, job: Job) -> Future:
    # A local function and plain values travel whole: the scheduler, which unpacks them, need not have this pack.
    def do(*plain: Any) -> Record:
        return get_worker().plugins[NAME].attempt(*plain)

    plain = job.place, job.seed_number, job.prompts, job.method
    key = f"{job.key}-{uuid.uuid4().hex[:8]}"  # a scheduler that others use too may have seen the job
    return client.submit(do, *plain, key=key, pure=False, retries=MOST_ATTEMPTS - 1)


def _record_of(future: Future) -> Record:
    if future.cancelled():
        raise SetupProblem("the dask scheduler went away. What was done is kept; the same command goes on from there.")
    error = future.exception()
    if isinstance(error, (Lost, KilledWorker)):
        why = str(error) if isinstance(error, Lost) else "its worker died"
        return {"failed": f"given up after {MOST_ATTEMPTS} attempts; the last time {why}"}
    record: Record = future.result()  # an error of ours is raised as it is
    return record


class _Watch:
    """Which workers are in trouble, as they tell, and how long all of them have been."""

    def __init__(self, say: Callable[[str], None], patience: float) -> None:
        self.say, self.patience, self.since = say, patience, 0.0
        self.troubles: dict[str, tuple[str, bool]] = {}

    def told(self, place: str, trouble: str, unfit: bool, **_: Any) -> None:
        before = self.troubles.pop(place, None)
        if trouble:
            self.troubles[place] = trouble, unfit
        if trouble and (before is None or before[0] != trouble):
            self.say(f"{place} is set aside: {trouble}")
        elif before and not trouble:
            self.say(f"{place} is back.")

    def check(self, workers: int) -> None:
        troubles = dict(self.troubles)  # another thread hears of more
        if workers > len(troubles):
            self.since = 0.0
            return
        reasons = "".join(f"\n  {place}: {why}" for place, (why, _) in troubles.items())
        if workers and all(unfit for _, unfit in troubles.values()):
            raise SetupProblem(f"no server can be used.{reasons}")
        minutes = f"{self.patience / 60:.0f} minutes"
        if not self.since:
            self.since = time.monotonic()
            self.say(f"Nobody can work; waiting up to {minutes} (--patience).{reasons}")
        elif time.monotonic() - self.since > self.patience:
            raise SetupProblem(f"nobody could work for {minutes}. What was done is kept; the same command goes on from there.{reasons}")


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
