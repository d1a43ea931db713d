"""An image size that the demo model does not know is said, by core's sampler as by ours, and hinders nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sgool.harness.client import Graph
from sgool.harness.server import Server

from .test_progress_server import DEMO, ENDS_OF_IT, NODES, NUMBERS, followed

pytestmark = pytest.mark.server

CORE: Graph = {"run": {"class_type": "KSampler", "inputs": {**ENDS_OF_IT, **NUMBERS}}}
SAID = "The demo model is made for 64 x 64, not 96 x 64."  # the page shows two lines of some 26 letters


def wide(graph: Graph, width: int = 96) -> Graph:
    return {**graph, "4": {"class_type": "EmptyLatentImage", "inputs": {"width": width, "height": 64, "batch_size": 1}}}


def texts(server: Server, graph: Graph) -> list[str]:
    """What the node ``run`` shows while it runs."""
    return asyncio.run(followed(server, server.with_defaults(graph)))[1]


def warnings(server: Server) -> int:
    """How often it stands in the log as a warning."""
    lines = server.log.read_text(encoding="utf-8").splitlines()
    return sum(SAID in line and "WARNING" in line for line in lines)


@pytest.mark.parametrize("kind", ["core", *NODES])
def test_a_size_that_the_model_does_not_know_is_said_before_anything_else(server: Server, kind: str) -> None:
    graph = DEMO | {"core": CORE, **NODES}[kind]
    said = warnings(server)
    assert texts(server, wide(graph))[0].startswith(SAID)
    assert warnings(server) == said + 1
    assert not any("64 x 64" in text for text in texts(server, graph))


def test_it_is_said_again_in_each_run_and_in_our_nodes_text(server: Server) -> None:
    assert texts(server, wide(DEMO | CORE))[0].startswith(SAID)
    other: dict[str, Any] = {"run": {**CORE["run"], "inputs": {**CORE["run"]["inputs"], "seed": 4}}}
    assert texts(server, wide(DEMO | other))[0].startswith(SAID)
    outputs = server.run(server.with_defaults(wide(DEMO | NODES["ksampler"])))
    assert SAID in outputs["run"]["text"][0]
