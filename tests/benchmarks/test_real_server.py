"""One worker's runs on a server that is slow, goes away, or is left in the middle."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from sgool.benchmarks.real.comparison import CheckpointComparison
from sgool.benchmarks.real.server import OwnServer
from sgool.harness.client import Client, RunFailed, RunLost, describe_outage


class StandIn(Client):
    """Answers a question for the outcome of a run with the next of ``answers``, and with "not yet" when there are no more."""

    def __init__(self, answers: Sequence[Any] = ()) -> None:
        super().__init__("http://stand-in")
        self.answers, self.canceled = iter(answers), list[str]()

    def submit(self, graph: Any) -> str:
        return "a run"

    def outcome(self, run: str) -> Any:
        answer = next(self.answers, None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self, run: str) -> None:
        self.canceled.append(run)


def owner_of(client: Client) -> OwnServer:
    owner = OwnServer(CheckpointComparison("demo", ("a cat",), best_of=2))
    owner.client = client  # as bring does
    return owner


def test_leaving_cancels_what_is_under_way() -> None:
    client = StandIn()
    owner = owner_of(client)
    leaving = threading.Timer(0.2, owner.teardown)
    leaving.start()
    with pytest.raises(RunFailed, match="stopped") as stopped:
        owner.run({})
    leaving.join()
    assert stopped.value.interrupted
    assert client.canceled == ["a run"]


@pytest.mark.parametrize("final", [RunLost("gone"), ConnectionRefusedError(111, "refused")])
def test_a_run_whose_server_went_away_is_canceled_by_whoever_asks_again(final: Exception) -> None:
    client = StandIn([None, final])
    owner = owner_of(client)
    with pytest.raises(type(final)):
        owner.run({})
    owner.teardown()  # it may still be at it
    assert client.canceled == ["a run"]


def test_troubles_are_named_in_words() -> None:
    assert describe_outage(ConnectionRefusedError(111, "refused")) == "nobody listens there"
    assert describe_outage(TimeoutError()) == "it does not answer in time"
    assert describe_outage(RunLost("x")) == "it was restarted, or its queue was cleared"
