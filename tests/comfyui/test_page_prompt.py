"""Prompt and VAE that *Improve with SGOOL* finds, in the real page: through reroutes, switches and branches, out of subgraphs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sgool.harness.client import Graph
from sgool.harness.page import Page
from sgool.harness.template import shown

from .test_page_improve import CLICK, DEMO, IMAGE, KSAMPLER, NO_IMAGE, OFFERED, SOUND, UNDO, only
from .test_page_subgraphs import CONVERT, HOST

pytestmark = pytest.mark.browser

BEFORE = DEMO | KSAMPLER | IMAGE
OTHER: Graph = {"20": {"class_type": "CLIPTextEncode", "inputs": {"text": "a blue square", "clip": ["1", 1]}}}
ON: Graph = {"22": {"class_type": "PrimitiveBoolean", "inputs": {"value": True}}}
SWITCH: Graph = {"21": {"class_type": "ComfySwitchNode", "inputs": {"switch": ["22", 0], "on_false": ["20", 0], "on_true": ["2", 0]}}}
BOX = {"clip": ["1", 1], "gligen_textbox_model": ["23", 0], "text": "a box", "width": 64, "height": 64, "x": 0, "y": 0}
BOXED: Graph = {
    "23": {"class_type": "GLIGENLoader", "inputs": {"gligen_name": "none"}},
    "21": {"class_type": "GLIGENTextBoxApply", "inputs": {"conditioning_to": ["2", 0], **BOX}},
}
BOTH: Graph = {"21": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["20", 0], "conditioning_2": ["2", 0]}}}
EDITED: Graph = {"21": {"class_type": "ReferenceLatent", "inputs": {"conditioning": ["2", 0]}}}
HEAR = """
const toast = window.app.extensionManager.toast, add = toast.add;
toast.add = told => { window.said = told.detail; toast.add = add; return add.call(toast, told) };
"""
MUTE = "window.app.graph.nodes.find(n => n.widgets?.some(w => w.value === 'a blue square')).mode = 2"
FIND = "const find = type => window.app.graph.nodes.find(n => n.type === type);"
REROUTE = f"""
{FIND}
for (const [node, name] of [[find('KSampler'), 'positive'], [find(arguments[0]), 'samples']]) {{
    const slot = node.inputs.findIndex(input => input.name === name), link = window.app.graph.getLink(node.inputs[slot].link);
    const reroute = window.LiteGraph.createNode('Reroute');
    window.app.graph.add(reroute);
    window.app.graph.getNodeById(link.origin_id).connect(link.origin_slot, reroute, 0);
    reroute.connect(0, node, slot);
}}
"""
PRIMITIVE = """
const node = window.app.graph.nodes.find(n => n.widgets?.some(w => w.value === 'a red circle'));
const primitive = window.LiteGraph.createNode('PrimitiveNode');
window.app.graph.add(primitive);
primitive.connect(0, node, node.inputs.findIndex(input => input.name === 'text'));
primitive.widgets[0].value = 'a green triangle';
"""


VALUES = "return window.app.graph.nodes.some(n => n.widgets?.some(w => w.value === 'a red circle'))"  # which come after the nodes
ON_HOST = f"{HOST} return host.widgets.some(widget => widget.value === 'a red circle')"


def load(page: Page, graph: Graph) -> None:
    """In a fresh page: one keeps the values of an earlier graph's namesakes for what subgraphs show."""
    page.open()
    page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which comes late
    page.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'prompt')", json.dumps(graph))
    kinds = json.dumps(sorted(node["class_type"] for node in graph.values()), separators=(",", ":"))
    page.wait_until("return JSON.stringify(window.app.graph.nodes.map(n => n.type).sort()) === arguments[0]", kinds)
    page.wait_until(VALUES)


def with_positive(positive: str, *more: Graph) -> Graph:
    graph = BEFORE | {"6": {"class_type": "KSampler", "inputs": {**KSAMPLER["6"]["inputs"], "positive": [positive, 0]}}}
    for each in more:
        graph |= each
    return graph


def improved(page: Page) -> tuple[Any, list[Any]]:
    """The objective's prompt, and the VAE's node and slot."""
    assert page.run(CLICK, "KSampler") == "Improve with SGOOL"
    after = shown(page)
    prompt = only(after, "SGOOL_SaliencyCLIPLoss")["prompt"]
    node, slot = only(after, "SGOOL_KSampler")["vae"]
    return after[prompt[0]]["inputs"]["value"] if isinstance(prompt, list) else prompt, [after[node]["class_type"], slot]


@pytest.mark.parametrize(
    ("graph", "change"),
    [
        pytest.param(BEFORE, REROUTE, id="reroutes"),
        pytest.param(with_positive("21", OTHER, ON, SWITCH), "", id="switch"),
        pytest.param(with_positive("21", BOXED), "", id="text of a box"),
        pytest.param(with_positive("21", OTHER, BOTH), MUTE, id="muted branch"),
    ],
)
def test_the_text_that_the_model_gets(page: Page, graph: Graph, change: str) -> None:
    load(page, graph)
    page.run(change, "VAEDecode")
    assert improved(page) == ("a red circle", ["SGOOL_LoadDemoModel", 2])


def test_the_text_of_a_primitive_node(page: Page) -> None:
    load(page, BEFORE)
    page.run(PRIMITIVE)
    assert improved(page)[0] == "a green triangle"
    page.run("window.app.graph.nodes.find(n => n.type === 'PrimitiveNode').widgets[0].value = 'a black star'")
    assert only(shown(page), "SGOOL_SaliencyCLIPLoss")["prompt"] == "a black star"


@pytest.mark.parametrize(
    ("graph", "mode", "edits"),
    [
        pytest.param(BEFORE, 0, False, id="description"),
        pytest.param(with_positive("21", EDITED), 0, True, id="instruction"),
        pytest.param(with_positive("21", EDITED), 4, False, id="bypassed"),
    ],
)
def test_an_instruction_is_told_from_a_description(page: Page, graph: Graph, mode: int, edits: bool) -> None:
    load(page, graph)
    page.run("window.app.graph.nodes.filter(n => n.type === 'ReferenceLatent').forEach(n => { n.mode = arguments[0] })", mode)
    page.run(HEAR)
    assert improved(page)[0] == "a red circle"
    assert ("says what to change" in page.run("return window.said")) == edits


def test_no_image_is_refused_behind_a_reroute(page: Page) -> None:
    load(page, DEMO | KSAMPLER | SOUND)
    page.run(REROUTE, "VAEDecodeAudio")
    assert page.run(OFFERED, "KSampler") == [NO_IMAGE, True]


TWICE = f"""
{HOST} {FIND}
const graph = window.app.graph;
window.app.canvas.emitBeforeChange();
const other = host.clone();
graph.add(other);
host.inputs.forEach((input, slot) => {{
    const link = input.link == null ? null : graph.getLink(input.link);
    if (link) graph.getNodeById(link.origin_id).connect(link.origin_slot, other, slot);
}});
const encoder = find('CLIPTextEncode')?.clone();
if (encoder && !arguments[0]) {{
    graph.add(encoder);
    find('SGOOL_LoadDemoModel').connect(1, encoder, 0);
    encoder.widgets[0].value = 'a blue square';
    encoder.connect(0, other, other.inputs.findIndex(input => input.name === 'positive'));
}} else other.widgets[host.widgets.findIndex(widget => widget.value === 'a red circle')].value = 'a blue square';
for (const [slot, node] of [host, other].entries()) {{
    const decode = slot ? window.LiteGraph.createNode('VAEDecode') : find('VAEDecode');
    if (slot) graph.add(decode), find('SGOOL_LoadDemoModel').connect(2, decode, 1);
    node.connect(node.outputs.findIndex(output => output.type === 'LATENT'), decode, 0);
    const save = window.LiteGraph.createNode('PreviewImage');
    graph.add(save);
    decode.connect(0, save, 0);
}}
window.app.canvas.emitAfterChange();
"""
INSIDE = f"""
{HOST}
const node = host.subgraph.nodes.find(n => n.type === 'KSampler');
window.app.canvas.openSubgraph(host.subgraph, host);
window.app.canvas.getNodeMenuOptions(node).find(each => each?.content === 'Improve with SGOOL').callback();
window.app.canvas.setGraph(window.app.rootGraph);
"""
PROMPT = "const done = arguments[0]; window.app.graphToPrompt().then(made => done(JSON.stringify(made.output)))"


def whole(page: Page) -> Graph:
    """As the page would queue it: nodes of subgraphs under their long ids."""
    graph: Graph = json.loads(page.driver.execute_async_script(PROMPT))
    return graph


def texts_of(graph: Graph) -> dict[str, tuple[Any, Any]]:
    """Of each sampling node the text that the model gets and the objective's, with links followed."""

    def text(value: Any) -> Any:
        return graph[value[0]]["inputs"]["value"] if isinstance(value, list) else value

    nodes = {name: node["inputs"] for name, node in graph.items() if node["class_type"] == "SGOOL_KSampler"}
    assert all(graph[node["vae"][0]]["class_type"] == "SGOOL_LoadDemoModel" for node in nodes.values())
    objectives = {name: graph[node["objective"][0]]["inputs"]["prompt"] for name, node in nodes.items()}
    return {name: (text(graph[node["positive"][0]]["inputs"]["text"]), text(objectives[name])) for name, node in nodes.items()}


@pytest.mark.parametrize("inside", [["KSampler"], ["KSampler", "CLIPTextEncode"]], ids=["encoders outside", "encoders inside"])
def test_a_subgraph_that_is_used_twice_has_two_prompts(page: Page, inside: list[str]) -> None:
    load(page, BEFORE)
    page.run(CONVERT, inside)
    if "CLIPTextEncode" in inside:
        page.wait_until(ON_HOST)
    page.run(TWICE, "CLIPTextEncode" in inside)
    before = whole(page)
    page.run(INSIDE)
    after = whole(page)
    assert sorted(texts_of(after).values()) == [("a blue square",) * 2, ("a red circle",) * 2]
    page.run(UNDO)
    page.wait_until(f"{HOST} return host?.subgraph.nodes.some(n => n.type === 'KSampler')", timeout=20)
    assert whole(page) == before
