"""One worker's runs on a server that is slow, forgets, and is left in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sgool.benchmarks.real import server as server_module
from sgool.benchmarks.real.comparison import Comparison
from sgool.benchmarks.real.server import OwnServer
from sgool.harness.client import Client, RunFailed, RunLost

from .stand_in_server import StandIn

GRAPH = {"1": {"class_type": "X", "inputs": {"text": "a cat"}}}
DEMO = Comparison("demo", ("a cat",), best_of=2)


@pytest.fixture
def server() -> Iterator[StandIn]:
    started = StandIn(delay=60.0).start()
    yield started
    started.stop()


def owner_of(server: StandIn, timeout: float = 20.0) -> OwnServer:
    owner = OwnServer(DEMO, timeout, [server.url])
    owner.client, owner.leaving = Client(server.url), threading.Event()  # as setup and bring do
    return owner


def test_a_run_that_takes_too_long_is_canceled(server: StandIn) -> None:
    with pytest.raises(RunFailed, match="did not end within"):
        owner_of(server, timeout=0.1).run(GRAPH)
    assert server.canceled == [f"{server.port}-1"]


def test_leaving_cancels_what_is_under_way(server: StandIn) -> None:
    owner = owner_of(server)

    def leave() -> None:
        while not owner.run_under_way:
            time.sleep(0.01)
        owner.leaving.set()
        owner.release()

    thread = threading.Thread(target=leave, daemon=True)
    thread.start()
    with pytest.raises(RunFailed, match="stopped"):
        owner.run(GRAPH)
    thread.join()
    assert server.canceled == [f"{server.port}-1"]


def test_a_server_that_was_started_anew_has_lost_the_run(server: StandIn) -> None:
    client = Client(server.url)
    server.delay = 0.0
    run = client.submit(GRAPH)
    assert client.outcome(run) == {"by": {"port": server.port}}
    server.forget()
    with pytest.raises(RunLost, match="does not know the run"):
        client.outcome(run)


def test_a_server_that_goes_away_is_given_some_time(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "GRACE", 0.2)
    server.delay, server.breaks_off = 0.3, 2
    assert owner_of(server).run(GRAPH) == {"by": {"port": server.port}}
    server.breaks_off = 10**6
    began = time.monotonic()
    with pytest.raises(OSError, match=r"closed|reset|refused|Remote"):
        owner_of(server).run(GRAPH)
    assert time.monotonic() - began >= 0.2
