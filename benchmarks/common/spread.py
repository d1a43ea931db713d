"""Jobs spread over dask's workers, each of which owns what it works with: a ComfyUI server, or a loaded model.

dask restarts workers that die, gives their jobs to others and tries again what was lost. Here is only what it cannot know: that a worker
whose server is away shall get no jobs meanwhile, and when to give up.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any
from unittest import mock

import dask
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
FIRST_PAUSE, LONGEST_PAUSE, TICK = 1.0, 60.0, 0.5


class Lost(Exception):
    """A job whose server went away, or was interrupted by somebody. dask tries it again, elsewhere if it can."""


class Owner(WorkerPlugin, ABC):
    """One on each worker. It owns something, and does jobs with it, one at a time."""

    name = NAME
    leaving: threading.Event

    def bring(self, place: str) -> None:
        """Get what is owned, in the worker called ``place`` (its number on this machine). Called again after an outage.

        Raises SetupProblem where it lacks something, or one of OUTAGE where it is away: both are tried again, after growing pauses.
        """

    @abstractmethod
    def do(self, job: Job) -> Record:
        """Do a job. May raise RunFailed, which is recorded, or one of OUTAGE: what is owned is away, and the job is tried again."""

    def release(self) -> None:
        """Let go of everything, in the middle of a job too."""

    def setup(self, worker: Worker) -> None:
        """By dask, when the worker has started. The worker waits for nothing: it gets jobs when ``bring`` is through."""
        self._worker, self._lock, self._ready = worker, threading.Lock(), False
        self.leaving = threading.Event()
        self._start_bringing()

    def teardown(self, worker: Worker) -> None:
        """By dask, when the worker ends or the run does."""
        self.leaving.set()
        self.release()

    def attempt(self, *plain: Any) -> Record:
        """``do`` the job of these values, with what that raises as dask is to understand it."""
        if not self._ready:
            self._get_jobs(False)
            raise Reschedule
        try:
            return self.do(Job(*plain))
        except RunFailed as failure:
            if failure.interrupted:
                raise Lost("it was interrupted") from None
            return {"failed": str(failure), "node": failure.node_type}
        except OUTAGE as error:
            why = describe_outage(error)
            self._tell(why)
            self._get_jobs(False, away=True)
            self._start_bringing()
            raise Lost(f"its server went away ({why})") from None

    def _start_bringing(self) -> None:
        threading.Thread(target=self._bring, daemon=True).start()

    def _bring(self) -> None:
        pause = FIRST_PAUSE
        while not self.leaving.is_set():
            try:
                self.bring(str(self._worker.name))
            except SetupProblem as problem:
                self._tell(str(problem), unfit=True)
            except OUTAGE as error:
                self._tell(describe_outage(error))
            else:
                self._tell("")
                self._get_jobs(True)
                return
            self.leaving.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _get_jobs(self, yes: bool, *, away: bool = False) -> None:
        """Whether dask gives this worker jobs: one that is paused gets none."""
        with self._lock:  # so that the last call is the one that counts
            self._ready = yes or (self._ready and not away)
            status = Status.running if self._ready else Status.paused
            self._worker.loop.add_callback(setattr, self._worker, "status", status)

    def _tell(self, trouble: str, *, unfit: bool = False) -> None:
        self._worker.log_event(NAME, {"place": self.label(), "trouble": trouble, "unfit": unfit})

    def label(self) -> str:
        """What messages call it."""
        return f"worker {self._worker.name}"


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
    with _connected(workers, scheduler) as client:
        board = _Board(client, jobs, keep, say, patience)
        client.subscribe_topic(NAME, lambda event: board.news.put(event[1]))
        client.register_plugin(owner)
        try:
            board.run()
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be what went away
                client.cancel([future for _, future in board.under_way.values()])
                client.unregister_worker_plugin(NAME)


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


class _Board:
    """Jobs that are left and those under way: never more than there are workers, so that none waits behind one that is paused."""

    def __init__(
        self, client: Client, jobs: Sequence[Job], keep: Callable[[Job, Record], None], say: Callable[[str], None], patience: float
    ) -> None:
        self.client, self.keep, self.say, self.patience = client, keep, say, patience
        self.left = deque(jobs)
        self.under_way: dict[str, tuple[Job, Future]] = {}
        self.news: queue.SimpleQueue[Any] = queue.SimpleQueue()  # futures that are done, and what owners tell
        self.troubles: dict[str, tuple[str, bool]] = {}
        self._failures, self._waiting_since = 0, 0.0

    def run(self) -> None:
        while self.left or self.under_way:
            workers = len(self.client.nthreads())
            while self.left and len(self.under_way) < max(1, workers - len(self.troubles)):
                self._submit(self.left.popleft())
            try:
                news = self.news.get(timeout=TICK)
            except queue.Empty:
                self._watch(workers)
            else:
                self._done(news) if isinstance(news, Future) else self._told(**news)

    def _submit(self, job: Job) -> None:
        # A local function and plain values travel whole: the scheduler, which unpacks them, need not have this pack.
        def do(*plain: Any) -> Record:
            return get_worker().plugins[NAME].attempt(*plain)

        plain = job.place, job.seed_number, job.prompts, job.method
        key = f"{job.key}-{uuid.uuid4().hex[:8]}"  # a scheduler that others use too may have seen the job
        future = self.client.submit(do, *plain, key=key, pure=False, retries=MOST_ATTEMPTS - 1)
        self.under_way[future.key] = job, future
        future.add_done_callback(self.news.put)

    def _done(self, future: Future) -> None:
        job, _ = self.under_way.pop(future.key)
        if future.cancelled():
            raise SetupProblem("the dask scheduler went away. What was done is kept; the same command goes on from there.")
        error = future.exception()
        if isinstance(error, (Lost, KilledWorker)):
            why = str(error) if isinstance(error, Lost) else "its worker died"
            record: Record = {"failed": f"given up after {MOST_ATTEMPTS} attempts; the last time {why}"}
        elif error is not None:
            raise error
        else:
            record = future.result()
        self.keep(job, record)
        self._failures = self._failures + 1 if "failed" in record else 0
        if self._failures >= MOST_FAILURES:
            raise SetupProblem(f"{MOST_FAILURES} jobs failed one after the other, the last with: {record['failed']}")

    def _told(self, place: str, trouble: str, unfit: bool, **_: Any) -> None:
        before = self.troubles.pop(place, None)
        if trouble:
            self.troubles[place] = trouble, unfit
        if trouble and (before is None or before[0] != trouble):
            self.say(f"{place} is set aside: {trouble}")
        elif before and not trouble:
            self.say(f"{place} is back.")

    def _watch(self, workers: int) -> None:
        if workers > len(self.troubles):
            self._waiting_since = 0.0
            return
        reasons = "\n".join(f"  {place}: {why}" for place, (why, _) in self.troubles.items())
        if workers and all(unfit for _, unfit in self.troubles.values()):
            raise SetupProblem(f"no server can be used.\n{reasons}")
        if not self._waiting_since:
            self._waiting_since = time.monotonic()
            self.say(f"Nobody can work; waiting up to {self.patience / 60:.0f} minutes (--patience).\n{reasons}")
        elif time.monotonic() - self._waiting_since > self.patience:
            raise SetupProblem(
                f"nobody could work for {self.patience / 60:.0f} minutes. What was done is kept; the same command goes on from there.\n"
                f"{reasons}"
            )
