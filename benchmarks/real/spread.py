"""Spread jobs over servers, a thread for each. A server that goes away is set aside, and its job goes to another."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from sgool.harness.client import OUTAGE, RunFailed
from sgool.harness.problems import SetupProblem

from .plan import Job
from .stations import Station, Stopped, describe

MOST_LOSSES = 5
MOST_FAILURES = 10
IDLE = 0.2
Record = dict[str, Any]


class Board:
    """The jobs that are left and those under way. Several threads may use it."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._lock = threading.Lock()
        self._left = deque(jobs)
        self._under_way = 0
        self._losses: dict[str, int] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing is left and nothing under way that could come back."""
        with self._lock:
            return not self._left and not self._under_way

    def take(self) -> Job | None:
        """The next job, or None where there is none at the moment. It has to be handed back by one of the two below."""
        with self._lock:
            if not self._left:
                return None
            self._under_way += 1
            return self._left.popleft()

    def done(self) -> None:
        """A job that was taken needs no more work."""
        with self._lock:
            self._under_way -= 1

    def put_back(self, job: Job, *, counts: bool) -> bool:
        """Somebody else is to do it, first of all. Where it ``counts`` and was lost too often, it is done with, and this is False."""
        with self._lock:
            self._under_way -= 1
            self._losses[job.key] = self._losses.get(job.key, 0) + counts
            if self._losses[job.key] >= MOST_LOSSES:
                return False
            self._left.appendleft(job)
            return True


class Spread:
    """Runs jobs on servers until all are done.

    Args:
        stations: the servers.
        work: does one job on one server and returns what came of it. May raise RunFailed, Stopped, or one of OUTAGE; an OSError is taken
            for the server's, so it is no place to write files.
        keep: is given each record, ``failed`` ones too; called by one thread at a time.
        say: is given lines for the user.
        patience: seconds for which no server may be there before this gives up.
    """

    def __init__(
        self,
        stations: Sequence[Station],
        work: Callable[[Station, Job, threading.Event], Record],
        keep: Callable[[Job, Record], None],
        say: Callable[[str], None],
        patience: float,
    ) -> None:
        self.stations = stations
        self.work, self.keep, self.say = work, keep, say
        self.patience = patience
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._problem: BaseException | None = None
        self._failures = 0

    def run(self, jobs: Sequence[Job]) -> None:
        """Return when all jobs are done or have failed. Whatever ends it, the servers are left without our runs.

        Raises:
            SetupProblem: no server can be used, none came back in time, or one job after the other failed.
        """
        board = Board(jobs)
        threads = [threading.Thread(target=self._guarded, args=(station, board), daemon=True) for station in self.stations]
        for thread in threads:
            thread.start()
        try:
            self._watch(threads, board)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(10)
        if self._problem is not None:
            raise self._problem

    def _watch(self, threads: Sequence[threading.Thread], board: Board) -> None:
        waiting_since = 0.0
        while any(thread.is_alive() for thread in threads) and not self._stop.is_set():
            time.sleep(IDLE)
            if board.empty or not all(station.trouble for station in self.stations):
                waiting_since = 0.0
                continue
            asked = all(station.trouble != "not asked yet" for station in self.stations)
            if asked and all(station.unfit for station in self.stations):
                raise SetupProblem("no server can be used.\n" + self._troubles())
            if asked and not waiting_since:
                waiting_since = time.monotonic()
                minutes = self.patience / 60
                self._tell(f"No server is there; waiting up to {minutes:.0f} minutes for one to come (--patience).\n{self._troubles()}")
            if waiting_since and time.monotonic() - waiting_since > self.patience:
                raise SetupProblem(
                    f"no server came back within {self.patience / 60:.0f} minutes. What was done is kept; the same command goes on from "
                    f"there.\n{self._troubles()}"
                )

    def _troubles(self) -> str:
        return "\n".join(f"  {station.url}: {station.trouble}" for station in self.stations)

    def _guarded(self, station: Station, board: Board) -> None:
        try:
            self._serve(station, board)
        except BaseException as error:  # raised anew in the thread that waits
            self._problem = error
            self._stop.set()

    def _serve(self, station: Station, board: Board) -> None:
        known_trouble = ""
        while not self._stop.is_set() and not board.empty:
            if not station.available():
                if station.trouble != known_trouble:
                    known_trouble = station.trouble
                    self._tell(f"{station.url} is set aside: {known_trouble}")
                self._stop.wait(IDLE)
                continue
            if known_trouble:
                known_trouble = ""
                self._tell(f"{station.url} is back.")
            job = board.take()
            if job is None:
                self._stop.wait(IDLE)
                continue
            self._attempt(station, board, job)

    def _attempt(self, station: Station, board: Board, job: Job) -> None:
        try:
            record = self.work(station, job, self._stop)
        except RunFailed as failure:
            if failure.interrupted:
                self._lost(board, job, "it was interrupted")
            else:
                self._done(board, job, {"failed": str(failure), "node": failure.node_type})
        except Stopped:
            board.put_back(job, counts=False)
        except OUTAGE as error:
            station.set_aside(describe(error))
            self._lost(board, job, f"its server went away ({station.trouble})")
        except BaseException:
            board.done()
            raise
        else:
            self._done(board, job, record)

    def _lost(self, board: Board, job: Job, why: str) -> None:
        if board.put_back(job, counts=True):
            self._tell(f"{job.key}: {why}; it will be done again")
        else:
            with self._lock:
                self.keep(job, {"failed": f"given up after {MOST_LOSSES} attempts; the last time {why}"})

    def _done(self, board: Board, job: Job, record: Record) -> None:
        with self._lock:
            self.keep(job, record)
            board.done()
            self._failures = self._failures + 1 if "failed" in record else 0
            if self._failures >= MOST_FAILURES:
                raise SetupProblem(f"{MOST_FAILURES} jobs failed one after the other, the last with: {record['failed']}")

    def _tell(self, line: str) -> None:
        with self._lock:
            self.say(line)
