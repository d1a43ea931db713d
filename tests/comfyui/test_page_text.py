"""Text that a node reports is drawn in the node, in both of the page's node designs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sgool.harness.page import Page
from sgool.harness.server import Server

pytestmark = pytest.mark.browser

GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SGOOL_DemoJudge", "inputs": {"images": ["1", 0], "prompt": "a red circle"}},
}
TEXT = "return window.app.graph.nodes.find(n => n.type === 'SGOOL_DemoJudge').widgets.find(w => w.name === 'sgool_text')?.value"
DRAWN = """
const area = [...document.querySelectorAll('textarea')].find(a => a.readOnly && a.value.startsWith('wrong'));
const box = area?.getBoundingClientRect();
return box && box.width > 50 && box.height > 20 ? area.value : null;
"""


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_the_judges_verdict_stands_in_the_node(page: Page, server: Server, vue: bool) -> None:
    server.post("/settings", {"Comfy.VueNodes.Enabled": vue})
    try:
        page.open()
        page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which comes late
        page.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'text')", json.dumps(GRAPH))
        page.wait_until("return window.app.graph.nodes.length === 2")
        page.run("window.app.queuePrompt(0)")
        said = page.wait_until(TEXT)
        assert said.startswith("wrong: an object or attribute is wrong or missing")
        assert page.wait_until(DRAWN, timeout=20) == said
        saved = json.loads(page.run("return JSON.stringify(window.app.graph.serialize())"))
        assert said not in json.dumps(saved)  # it comes with each run
    finally:
        server.post("/settings", {"Comfy.VueNodes.Enabled": False})
