"""A ComfyUI server as a place to send jobs to: whether it is there, what it has, and running one graph on it."""

from __future__ import annotations

import contextlib
import threading
import time
import urllib.error
from collections.abc import Callable
from typing import Any

from sgool.harness.client import OUTAGE, Client, Graph, RunFailed, RunLost
from sgool.harness.problems import SetupProblem

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
GRACE = 15.0  # seconds for which a server may fail to answer before its run is given up


class Stopped(Exception):
    """The user asked to stop while a run was under way."""


class Station:
    """One server.

    Args:
        url: its address.
        prepare: called with the client whenever the server has come (back), before it gets jobs. Raises SetupProblem where it lacks
            something; what it returns is kept as ``prepared``.

    Attributes:
        trouble: why the server is set aside, or empty.
        unfit: whether it is there, but lacks something.
        device, software: what it says of itself.
    """

    def __init__(self, url: str, prepare: Callable[[Client], Any]) -> None:
        self.client = Client(url)
        self.url = self.client.url
        self.prepared: Any = None
        self.trouble = "not asked yet"
        self.unfit = False
        self.device = self.software = ""
        self._prepare = prepare
        self._pause = FIRST_PAUSE
        self._next = 0.0
        self._abandoned: list[str] = []

    def available(self) -> bool:
        """Whether it takes jobs: at once where nothing is the matter; else by asking it, at most as often as the pause allows."""
        if not self.trouble:
            return True
        if time.monotonic() < self._next:
            return False
        try:
            self._ask()
        except SetupProblem as problem:
            self.unfit = True
            self.set_aside(str(problem))
        except OUTAGE as error:
            self.unfit = False
            self.set_aside(describe(error))
        return not self.trouble

    def set_aside(self, why: str) -> None:
        """Give it no jobs for a while, and for longer each time."""
        self.trouble = why
        self._next = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def run(self, graph: Graph, stop: threading.Event, timeout: float) -> dict[str, dict[str, Any]]:
        """Run a graph and return its outputs, as ``Client.run`` does.

        Raises:
            RunFailed: the graph was refused or failed, or took longer than ``timeout`` seconds (it is canceled then).
            Stopped: ``stop`` was set (it is canceled then).
            One of OUTAGE: the server is away.
        """
        run = self.client.submit(graph)
        end = time.monotonic() + timeout
        pause, silent_since = 0.05, 0.0
        while time.monotonic() < end:
            try:
                outputs = self.client.outcome(run)
                silent_since = 0.0
            except RunFailed:
                raise
            except OUTAGE as error:
                silent_since = silent_since or time.monotonic()
                if is_final(error) or time.monotonic() - silent_since > GRACE:
                    self._abandoned.append(run)
                    raise
                outputs = None
            if outputs is not None:
                self._pause = FIRST_PAUSE
                return outputs
            if stop.wait(pause):
                self._cancel(run)
                raise Stopped
            pause = min(1.2 * pause, 1.0)
        self._cancel(run)
        raise RunFailed(f"it did not end within {timeout / 60:.0f} minutes (--timeout)")

    def _ask(self) -> None:
        about = self.client.get("/system_stats")
        for run in self._abandoned:  # it may still be at a job that has been given to another
            self.client.cancel(run)
        self._abandoned.clear()
        self.prepared = self._prepare(self.client)
        self.device = str((about.get("devices") or [{}])[0].get("name", ""))
        system = about.get("system", {})
        self.software = f"ComfyUI {system.get('comfyui_version', '?')}, torch {system.get('pytorch_version', '?')}"
        self.trouble, self.unfit = "", False

    def _cancel(self, run: str) -> None:
        with contextlib.suppress(*OUTAGE):
            self.client.cancel(run)


def is_final(error: BaseException) -> bool:
    """Whether waiting for the run is pointless: nobody listens, or the server has forgotten it."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(reason, (ConnectionRefusedError, RunLost))


def describe(error: BaseException) -> str:
    """Why a server is away, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers with HTTP status {error.code}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, RunLost):
        return "it was started anew, or its queue was cleared"
    words: dict[type, str] = {
        ConnectionRefusedError: "nobody listens there",
        TimeoutError: "it does not answer in time",
        ConnectionResetError: "it broke the connection off",
    }
    return words.get(type(reason), str(reason) or type(reason).__name__)
