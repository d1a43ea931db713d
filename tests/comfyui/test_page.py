"""The pack in ComfyUI's own page."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
from sgool.harness.page import Page
from sgool.harness.server import ROOT, Server
from sgool.harness.template import differences, numbered, shown
from sgool.harness.workflow import load

pytestmark = pytest.mark.browser

TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))


def our_nodes(server: Server) -> dict[str, Any]:
    return {name: info for name, info in server.get("/object_info").items() if info["python_module"] == "custom_nodes.sgool"}


def test_every_node_of_the_pack_can_be_made_in_the_page(page: Page, server: Server) -> None:
    ours = set(our_nodes(server))
    assert ours
    assert ours <= page.node_types()


def test_the_page_shows_no_error_of_the_pack(page: Page) -> None:
    page.open()
    assert [message for message in page.errors() if "sgool" in message.lower()] == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_opens_as_the_graph_that_scripts_run(page: Page, template: Path) -> None:
    wanted = sorted(node["type"] for node in json.loads(template.read_text(encoding="utf-8"))["nodes"])
    page.open_template(template.stem)
    # By kinds, since the graph that the page begins with may have as many nodes.
    kinds = json.dumps(wanted, separators=(",", ":"))
    page.wait_until("return JSON.stringify(window.app.graph.nodes.map(n => n.type).sort()) === arguments[0]", kinds)
    assert sorted(node["type"] for node in page.nodes()) == wanted
    assert [message for message in page.errors() if "sgool" in message.lower()] == []
    scripted, opened = numbered(load(template.parent / "api" / template.name)), shown(page)
    end = time.monotonic() + 20  # the page may first show what was open last, another template of the same kinds
    while (opened.keys() != scripted.keys() or differences(scripted, opened)) and time.monotonic() < end:
        time.sleep(0.2)
        opened = shown(page)
    assert {name: node["class_type"] for name, node in opened.items()} == {name: node["class_type"] for name, node in scripted.items()}
    # A script may leave out what has a default; the page never does.
    assert differences(scripted, opened) == {}


BOXES = "return window.app.graph.nodes.map(n => [n.title, ...n.boundingRect])"  # with title, and as small as it is when collapsed
# Fewer steps and seeds than the template's, which change no node's size.
QUICK = """
const wanted = {steps: 2, preset: 'balanced', 'preset.iterations': 1, seeds: 4, seconds: 2};
for (const [name, value] of Object.entries(wanted))
    for (const node of window.app.graph.nodes)
        for (const widget of node.widgets ?? []) if (widget.name === name && widget.value !== value) widget.value = value;
"""
DEMO = [path.stem for path in TEMPLATES if any(kind in path.read_text("utf-8") for kind in ("SGOOL_LoadDemoModel", "SGOOL_DemoPhotograph"))]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "SGOOL-KSampler" else pytest.mark.slow) for name in DEMO])
def test_no_node_of_a_template_lies_over_another_when_all_show_what_they_made(page: Page, server: Server, name: str) -> None:
    page.open_template(name)
    kinds = json.dumps(sorted(node["type"] for node in json.loads((ROOT / "workflows" / f"{name}.json").read_text("utf-8"))["nodes"]))
    page.wait_until("return JSON.stringify(window.app.graph.nodes.map(n => n.type).sort()) === arguments[0]", kinds.replace(", ", ","))
    before = set(server.get("/history"))
    page.run(QUICK)
    page.run("window.app.queuePrompt(0)")
    end = time.monotonic() + 400
    while not (ran := set(server.get("/history")) - before) and time.monotonic() < end:
        time.sleep(0.5)
    assert server.get("/history")[ran.pop()]["status"]["status_str"] == "success"
    page.wait_until("return window.app.graph.nodes.filter(n => n.type === 'PreviewImage').every(n => n.imgs?.length)")
    boxes = page.run(BOXES)
    over = [
        (one[0], other[0])
        for one, other in itertools.combinations(boxes, 2)
        if all(one[1 + axis] < other[1 + axis] + other[3 + axis] and other[1 + axis] < one[1 + axis] + one[3 + axis] for axis in (0, 1))
    ]
    assert over == []


def test_the_page_shows_a_node_in_its_language(page: Page, server: Server) -> None:
    server.post("/settings", {"Comfy.Locale": "ko"})
    try:
        page.open()
        page.wait_until("return window.LiteGraph.registered_node_types.SGOOL_Settings?.title === 'SGOOL 설정'")
        labels = """
            const node = window.LiteGraph.createNode('SGOOL_Settings');
            return node.widgets.map(widget => [widget.name, widget.label]);
        """
        shown_labels = dict(page.run(labels))
        assert shown_labels["iterations"] == "반복 수"
        assert shown_labels["rule.step_size"] == "걸음 크기"
        assert shown_labels["rule.momentum"] == "모멘텀"
    finally:
        server.post("/settings", {"Comfy.Locale": "en"})


# Of what somebody types: how far down one of the pack's nodes may stand in the page's own order. It goes by how well a name fits
# (the whole name, its beginning, a word in it), then by how often people use a
# node, for which the page loads a list of core's nodes after it is shown.
SEARCHES = {
    "attention": ("SGOOL_PredictSaliency", 3),
    "saliency": ("SGOOL_PredictSaliency", 5),
    "improve prompt": ("SGOOL_KSampler", 2),
    "prompt alignment": ("SGOOL_KSampler", 2),
    "better image": ("SGOOL_KSampler", 2),
    "aesthetic": ("SGOOL_LoadReward", 5),
    "best of n": ("SGOOL_BestOfN", 1),
    "rule of thirds": ("SGOOL_Composition", 1),
    "relight": ("SGOOL_Light", 3),
    "style": ("SGOOL_Texture", 6),
    "palette": ("SGOOL_Color", 5),
    "invert image": ("SGOOL_InvertImage", 3),
}
FIND = """
    const stores = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s
    const search = stores.get('nodeDef').nodeSearchService
    return arguments[0].map(text => search.searchNode(text, [], {limit: 8}).map(node => node.name))
"""


def test_the_pages_search_finds_the_node_that_is_meant(page: Page) -> None:
    page.open()
    page.wait_until("return 'SGOOL_KSampler' in window.LiteGraph.registered_node_types")
    page.wait_until(
        "return document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s.get('nodeFrequency')?.isLoaded"
    )
    found = dict(zip(SEARCHES, page.run(FIND, list(SEARCHES)), strict=True))
    assert {text: found[text] for text, (node, place) in SEARCHES.items() if node not in found[text][:place]} == {}
