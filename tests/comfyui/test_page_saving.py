"""A graph saved and opened again is the same, in both of the page's node designs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sgool.harness.page import Page
from sgool.harness.server import ROOT, Server
from sgool.harness.template import shown

pytestmark = pytest.mark.browser

SAVED = "return JSON.stringify(window.app.graph.serialize())"
LOAD = "return window.app.loadGraphData(JSON.parse(arguments[0]))"
KINDS = "return JSON.stringify(window.app.graph.nodes.map(n => n.type).sort()) === arguments[0]"
CHANGE = """
const nodes = window.app.graph.nodes;
const widget = name => nodes.find(n => n.type === 'SGOOL_KSampler').widgets.find(w => w.name === name);
widget('preset').value = 'balanced';
widget('preset.iterations').value = 7;
widget('top_k').value = 3;
"""


@pytest.fixture(params=[False, True], ids=["canvas", "vue"])
def design(request: Any, server: Server) -> Iterator[None]:
    server.post("/settings", {"Comfy.VueNodes.Enabled": request.param})
    yield
    server.post("/settings", {"Comfy.VueNodes.Enabled": False})


def what_is_told(graph: dict[str, Any]) -> dict[str, Any]:
    """Of a saved graph: nodes with their widgets, titles and folding, links and groups."""
    kept = ("id", "type", "title", "widgets_values", "flags", "mode", "color")
    nodes = sorted(({key: node.get(key) for key in kept} for node in graph["nodes"]), key=lambda node: node["id"])
    return {"nodes": nodes, "links": sorted(graph["links"]), "groups": [group["title"] for group in graph["groups"]]}


@pytest.mark.usefixtures("design")
def test_a_changed_template_is_the_same_after_it_was_saved_and_opened_again(page: Page) -> None:
    made = json.loads((ROOT / "workflows" / "SGOOL-KSampler.json").read_text(encoding="utf-8"))
    kinds = json.dumps(sorted(node["type"] for node in made["nodes"]), separators=(",", ":"))
    page.open_template("SGOOL-KSampler")
    page.wait_until(KINDS, kinds)
    page.run(CHANGE)
    queued, saved = shown(page), page.run(SAVED)
    assert next(node for node in queued.values() if node["class_type"] == "SGOOL_KSampler")["inputs"]["preset.iterations"] == 7
    page.run("window.app.graph.clear()")
    page.run(LOAD, saved)
    page.wait_until(KINDS, kinds)
    assert shown(page) == queued
    assert what_is_told(json.loads(page.run(SAVED))) == what_is_told(json.loads(saved))
