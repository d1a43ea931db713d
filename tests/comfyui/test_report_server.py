"""SGOOL Report through the real server."""

from __future__ import annotations

from typing import Any

import pytest
from sgool.harness.server import ROOT, Server
from sgool.harness.workflow import load

pytestmark = pytest.mark.server
SHORT = {"preset.iterations": 1, "steps": 2}


def test_a_report_whose_outputs_go_nowhere_is_told_and_told_again_when_it_is_cached(server: Server) -> None:
    template = load(ROOT / "workflows" / "api" / "SGOOL-Sampler.json")
    graph: dict[str, Any] = {
        name: {**node, "inputs": {key: SHORT.get(key, value) for key, value in node["inputs"].items()}}
        for name, node in template.items()
        if node["class_type"] != "PreviewImage"
    }
    (report,) = (name for name, node in graph.items() if node["class_type"] == "SGOOL_Report")
    first, again = server.run(graph), server.run(graph)
    assert "returned: iteration" in first[report]["text"][0]
    assert again[report] == first[report]
