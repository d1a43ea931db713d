"""Jobs spread over servers that go away, come back, refuse and fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sgool.benchmarks.real import spread as spread_module
from sgool.benchmarks.real import stations as stations_module
from sgool.benchmarks.real.plan import Job
from sgool.benchmarks.real.spread import Board, Record, Spread
from sgool.benchmarks.real.stations import Station, describe
from sgool.harness.client import Client, RunFailed, RunLost
from sgool.harness.problems import SetupProblem

from .stand_in_server import StandIn

JOBS = [Job(index, f"prompt {index}", 0, "plain") for index in range(8)]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stations_module, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(stations_module, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(spread_module, "IDLE", 0.02)


@pytest.fixture
def servers() -> Iterator[list[StandIn]]:
    started = [StandIn(delay=0.05).start(), StandIn(delay=0.05).start()]
    yield started
    for server in started:
        server.stop()


class Kept:
    """Takes records and lines."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.order: list[str] = []
        self.lines: list[str] = []

    def keep(self, job: Job, record: Record) -> None:
        self.records[job.key] = record
        self.order.append(job.key)

    def said(self, what: str) -> bool:
        return any(what in line for line in self.lines)


def work(station: Station, job: Job, stop: threading.Event) -> Record:
    graph = {"1": {"class_type": "X", "inputs": {"text": job.prompt}}}
    return dict(station.run(graph, stop, timeout=20)["by"])


def spread_over(servers: list[StandIn], kept: Kept, patience: float = 20.0, prepare: Any = lambda client: None) -> Spread:
    return Spread([Station(server.url, prepare) for server in servers], work, kept.keep, kept.lines.append, patience)


def test_every_job_is_done_once_and_both_servers_help(servers: list[StandIn]) -> None:
    kept = Kept()
    spread_over(servers, kept).run(JOBS)
    assert sorted(kept.order) == [job.key for job in JOBS]
    assert {record["port"] for record in kept.records.values()} == {server.port for server in servers}


def test_a_job_of_a_server_that_dies_goes_to_the_other(servers: list[StandIn]) -> None:
    servers[0].dies_at = 2
    kept = Kept()
    spread_over(servers, kept).run(JOBS)
    assert sorted(kept.order) == [job.key for job in JOBS]
    assert sum(record["port"] == servers[0].port for record in kept.records.values()) == 1
    assert kept.said(f"{servers[0].url} is set aside")
    assert kept.said("it will be done again")


def test_it_waits_for_a_server_that_comes_back_without_memory(servers: list[StandIn]) -> None:
    server, _ = servers
    server.dies_at = 3
    kept = Kept()

    def bring_back() -> None:
        while server._server is not None:
            time.sleep(0.01)
        time.sleep(0.5)
        server.start()

    threading.Thread(target=bring_back, daemon=True).start()
    spread_over([server], kept).run(JOBS)
    assert sorted(kept.order) == [job.key for job in JOBS]
    assert kept.said("No server is there; waiting")
    assert kept.said(f"{server.url} is back.")


def test_it_gives_up_when_nobody_comes_back_and_keeps_what_there_is(servers: list[StandIn]) -> None:
    servers[0].dies_at = 3
    kept = Kept()
    with pytest.raises(SetupProblem, match="no server came back within"):
        spread_over(servers[:1], kept, patience=0.3).run(JOBS)
    assert kept.order == [job.key for job in JOBS[:2]]


def test_a_server_that_was_started_anew_has_lost_the_run(servers: list[StandIn]) -> None:
    client = Client(servers[0].url)
    run = client.submit({"1": {"class_type": "X", "inputs": {}}})
    assert client.outcome(run) is None
    time.sleep(0.1)
    assert client.outcome(run) == {"by": {"port": servers[0].port}}
    servers[0]._runs.clear()
    with pytest.raises(RunLost, match="does not know the run"):
        client.outcome(run)


def test_a_refused_job_is_recorded_with_its_sentence_and_not_tried_again(servers: list[StandIn]) -> None:
    servers[0].refuses = {"error": {"message": "Prompt has no outputs", "details": ""}, "node_errors": {}}
    kept = Kept()
    spread_over(servers[:1], kept).run(JOBS[:3])
    assert [record["failed"] for record in kept.records.values()] == ["Prompt has no outputs"] * 3
    assert servers[0].submitted == []


def test_a_node_that_fails_is_recorded_and_many_in_a_row_end_the_run(servers: list[StandIn]) -> None:
    servers[0].fails = "Allocation on device"
    servers[0].delay = 0.0
    kept = Kept()
    spread_over(servers[:1], kept).run(JOBS[:2])
    assert kept.records[JOBS[0].key] == {"failed": "Allocation on device", "node": "KSampler"}
    many = [Job(index, "prompt", 0, "plain") for index in range(20)]
    with pytest.raises(SetupProblem, match="10 jobs failed one after the other, the last with: Allocation on device"):
        spread_over(servers[:1], kept).run(many)


def test_servers_that_lack_something_are_left_out(servers: list[StandIn]) -> None:
    def prepare(client: Client) -> None:
        if client.url == servers[0].url:
            raise SetupProblem("it offers no ckpt_name 'a'")

    kept = Kept()
    spread_over(servers, kept, prepare=prepare).run(JOBS)
    assert {record["port"] for record in kept.records.values()} == {servers[1].port}
    assert kept.said("it offers no ckpt_name 'a'")
    with pytest.raises(SetupProblem, match="no server can be used"):
        spread_over(servers[:1], kept, prepare=prepare).run(JOBS)


def test_stopping_cancels_what_is_under_way(servers: list[StandIn]) -> None:
    servers[0].delay = 60.0
    kept = Kept()
    spread = spread_over(servers[:1], kept)

    def stop() -> None:
        while not servers[0].submitted:
            time.sleep(0.01)
        spread._stop.set()

    threading.Thread(target=stop, daemon=True).start()
    spread.run(JOBS)
    assert kept.order == []
    assert servers[0].canceled == [f"{servers[0].port}-1"]


def test_a_run_that_takes_too_long_is_canceled(servers: list[StandIn]) -> None:
    servers[0].delay = 60.0
    station = Station(servers[0].url, lambda client: None)
    with pytest.raises(RunFailed, match="did not end within"):
        station.run({"1": {"class_type": "X", "inputs": {}}}, threading.Event(), timeout=0.1)
    assert servers[0].canceled == [f"{servers[0].port}-1"]


def test_a_job_that_is_lost_again_and_again_is_given_up() -> None:
    board = Board(JOBS[:1])
    for _ in range(spread_module.MOST_LOSSES - 1):
        job = board.take()
        assert job is not None
        assert board.put_back(job, counts=True)
        assert not board.empty
    job = board.take()
    assert job is not None
    assert not board.put_back(job, counts=True)
    assert board.empty


def test_a_problem_of_ours_is_not_taken_for_the_servers(servers: list[StandIn]) -> None:
    def full(job: Job, record: Record) -> None:
        raise OSError(28, "No space left on device")

    spread = Spread([Station(servers[0].url, lambda client: None)], work, full, lambda line: None, 20)
    with pytest.raises(OSError, match="No space left"):
        spread.run(JOBS)


def test_troubles_are_named_in_words() -> None:
    assert describe(ConnectionRefusedError(111, "refused")) == "nobody listens there"
    assert describe(TimeoutError()) == "it does not answer in time"
    assert describe(RunLost("x")) == "it was started anew, or its queue was cleared"
