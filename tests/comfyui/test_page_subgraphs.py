"""Nodes of this pack inside of subgraphs, which the page itself makes of them: a run, what they say, and *Improve with SGOOL*."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from sgool.harness.client import Graph
from sgool.harness.page import Page
from sgool.harness.server import Server
from sgool.harness.template import shown

from .test_page_improve import CUSTOM_ADVANCED, DEMO, KSAMPLER, NO_IMAGE, SOUND, latent_of, only
from .test_page_pick import CLOSED, GO, LOADED, TILES, click
from .test_page_refusals import NO_VAE, OURS, changed
from .test_page_run import LASTING, RUN, SEEN, ended
from .test_page_text import DRAWN
from .test_page_text import GRAPH as JUDGED
from .test_pick import COUNT, LONG, picking

pytestmark = pytest.mark.browser

CONVERT = """
const nodes = window.app.graph.nodes.filter(node => arguments[0].includes(node.type));
const {node} = window.app.graph.convertToSubgraph(new Set(nodes));
node.title = 'Inside';
"""
HOST = "const host = window.app.graph.nodes.find(node => node.subgraph);"
ENTER = f"{HOST} window.app.canvas.openSubgraph(host.subgraph, host)"
LEAVE = "window.app.canvas.setGraph(window.app.rootGraph)"
ALL = f"{HOST} const all = [...window.app.graph.nodes, ...host.subgraph.nodes];"
WIDGET = f"{ALL} return all.find(n => n.type === arguments[0]).widgets.map(w => w.value).find(v => String(v).includes(arguments[1]))"
WATCH = f"""
{ALL}
window.seen = {{bar: [], previews: [], end: null}};
const node = all.find(each => each.type === 'SGOOL_KSampler');
const api = window.app.api;
const look = () => setTimeout(() => node.progress === undefined || window.seen.bar.push(node.progress), 0);
for (const kind of ['progress', 'progress_state']) api.addEventListener(kind, look);
api.addEventListener('b_preview_with_metadata', () => window.seen.previews.push([0, '']));
for (const kind of ['execution_success', 'execution_error']) api.addEventListener(kind, () => window.seen.end = kind);
"""
IMPROVE = f"""
{ALL}
const node = all.find(each => each.type === arguments[0]);
const item = window.app.canvas.getNodeMenuOptions(node).find(each => each?.content?.startsWith('Improve with SGOOL'));
if (item.disabled) return item.content;
const toast = window.app.extensionManager.toast, add = toast.add;
let said = null;
toast.add = told => {{ said = told.detail; return add.call(toast, told) }};
item.callback();
toast.add = add;
return said;
"""
FEW = {"preset": "balanced", "preset.iterations": 6}
USED_OUTSIDE: Graph = {  # so that VAE and reward come out of the subgraph of the model
    "11": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
    "12": {"class_type": "SGOOL_RewardScore", "inputs": {"reward": ["1", 3], "images": ["11", 0], "prompt": "a red circle"}},
}
UNPROMOTE = f"{HOST} for (const input of [...host.subgraph.inputs]) if (input.type === 'STRING') host.subgraph.removeInput(input);"


@pytest.fixture(params=[False, True], ids=["canvas", "vue"])
def design(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    server.post("/settings", {"Comfy.VueNodes.Enabled": request.param})
    yield "vue" if request.param else "canvas"
    server.post("/settings", {"Comfy.VueNodes.Enabled": False})


def opened(page: Page, graph: Graph, *inside: str) -> None:
    """The page, with the graph in it of which nodes of some types are in a subgraph."""
    page.open()
    page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which comes late
    page.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'subgraphs')", json.dumps(graph))
    kinds = json.dumps(sorted(node["class_type"] for node in graph.values()), separators=(",", ":"))
    page.wait_until("return JSON.stringify(window.app.graph.nodes.map(n => n.type).sort()) === arguments[0]", kinds)
    page.run(CONVERT, list(inside))


def test_a_run_moves_the_bar_and_shows_preview_and_text(page: Page, server: Server, design: str) -> None:
    """In the open subgraph, as the page shows them."""
    setting = {"Comfy.Execution.PreviewMethod": "auto"}
    server.post("/settings", setting)
    try:
        seed = 71 if design == "canvas" else 72  # what the server has run already it does not run again
        lasting = {**RUN, "5": {**RUN["5"], "inputs": {**RUN["5"]["inputs"], "preset.iterations": LASTING, "seed": seed}}}
        opened(page, server.with_defaults(lasting), "SGOOL_SaliencyCLIPLoss", "SGOOL_KSampler")
        page.run(WATCH)
        page.run(ENTER)
        page.run("window.app.queuePrompt(0)")
        seen: dict[str, Any] = ended(page)
    finally:
        server.post("/settings", dict.fromkeys(setting, "default"))
    assert seen["end"] == "execution_success"
    if design == "canvas":  # the other design keeps no number of it in the node
        assert len(seen["bar"]) > 4
        assert seen["bar"] == sorted(seen["bar"])
    assert page.run(SEEN)["previews"] >= 2
    assert "best" in page.wait_until(WIDGET, "SGOOL_KSampler", "best", timeout=20)


IN_SAMPLER: Graph = CUSTOM_ADVANCED | {  # SGOOL Sampler, which speaks in core's node
    "11": {"class_type": "SGOOL_SaliencyCLIPLoss", "inputs": {"reward": ["1", 3], "prompt": "a red circle"}},
    "12": {"class_type": "SGOOL_Sampler", "inputs": {"sampler": ["7", 0], "objective": ["11", 0], "vae": ["1", 2], **FEW}},
    "6": {"class_type": "SamplerCustomAdvanced", "inputs": {**CUSTOM_ADVANCED["6"]["inputs"], "sampler": ["12", 0]}},
}
FIXED = (
    f"{ALL} for (const node of all) for (const each of node.widgets ?? []) if (each.name === 'control_after_generate') each.value = 'fixed'"
)
# What stands above the subgraph's node, where it has been drawn.
ABOVE = f"""
{HOST}
const badge = host.badges.map(each => typeof each === 'function' ? each() : each).find(each => each.text?.includes('loss'));
const element = document.querySelector(`[data-node-id="${{host.id}}"] .sgool-host-text`);
const text = element?.getBoundingClientRect().height > 0 ? element.textContent : badge?.boundingRect[2] > 0 ? badge.text : null;
return arguments[0] === undefined ? text === null : text?.includes(arguments[0]) && text;
"""


def test_what_a_node_says_stands_above_the_closed_subgraph_until_the_next_run(page: Page, server: Server, design: str) -> None:
    graph = DEMO | IN_SAMPLER if design == "canvas" else {**RUN, "5": {**RUN["5"], "inputs": RUN["5"]["inputs"] | FEW | {"seed": 73}}}
    opened(page, server.with_defaults(graph), "SGOOL_SaliencyCLIPLoss", "SGOOL_KSampler", "SGOOL_Sampler", "SamplerCustomAdvanced")
    page.run(FIXED)
    page.run("window.app.queuePrompt(0)")
    page.wait_until(ABOVE, "Iteration")
    assert "best loss" in page.wait_until(ABOVE, "Done, took")
    assert "Done" not in page.run("return JSON.stringify(window.app.rootGraph.serialize())")
    page.run("window.app.queuePrompt(0)")  # of which all is cached
    assert page.wait_until(ABOVE, timeout=20)


def test_a_refusal_has_the_name_of_the_node_inside(page: Page, server: Server) -> None:
    opened(page, server.with_defaults(changed("5", vae=None)), "SGOOL_SaliencyCLIPLoss", "SGOOL_KSampler")
    page.run("window.app.queuePrompt(0)")
    assert page.wait_until(OURS) == [["SGOOL KSampler", NO_VAE]]


@pytest.mark.usefixtures("design")
def test_the_judges_verdict_stands_in_the_node_inside(page: Page) -> None:
    opened(page, JUDGED, "SGOOL_DemoJudge")
    page.run("window.app.queuePrompt(0)")
    said = page.wait_until(WIDGET, "SGOOL_DemoJudge", "wrong: ")
    page.run(ENTER)
    assert page.wait_until(DRAWN, timeout=20) == said


@pytest.mark.usefixtures("design")
def test_images_to_pick_are_shown_in_the_node_inside(page: Page, server: Server) -> None:
    opened(page, server.with_defaults(picking(LONG)), "SGOOL_Pick")
    try:
        page.run("window.app.queuePrompt(0)")
        page.wait_until("return document.body.innerText.includes('images in the node')")
        page.run(ENTER)
        page.wait_until(f"{TILES} === {COUNT}")
        page.wait_until(LOADED)
        page.run("window.app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        click(page, ".sgool-pick-tile", 1)
        click(page, GO)
        page.wait_until(CLOSED)
    finally:
        server.interrupt()


@pytest.mark.parametrize("inside", [["KSampler"], ["VAEDecodeAudio"]], ids=["sampler", "decoder"])
def test_what_decodes_to_no_image_is_refused_across_subgraphs(page: Page, server: Server, inside: list[str]) -> None:
    opened(page, server.with_defaults(DEMO | KSAMPLER | SOUND), *inside)
    assert page.run(IMPROVE, "KSampler") == NO_IMAGE


def bits(server: Server, before: Graph, after: Graph, ours: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the latent is the old one with no iterations, and with one."""
    old = latent_of(server, before)
    found = []
    for iterations in (0, 1):
        ours["preset.iterations"] = iterations
        found.append(torch.equal(latent_of(server, after), old))
    return found[0], found[1]


@pytest.mark.parametrize("sampling", [KSAMPLER, CUSTOM_ADVANCED], ids=["KSampler", "SamplerCustomAdvanced"])
def test_improved_where_model_and_prompts_come_from_a_subgraph(page: Page, server: Server, sampling: Graph) -> None:
    opened(page, server.with_defaults(DEMO | sampling | USED_OUTSIDE), "SGOOL_LoadDemoModel", "CLIPTextEncode", "CFGGuider")
    before = shown(page)
    said = page.run(IMPROVE, sampling["6"]["class_type"])
    after = shown(page)
    ours = only(after, "SGOOL_KSampler" if sampling is KSAMPLER else "SGOOL_Sampler")
    objective = after[ours["objective"][0]]["inputs"]
    assert after[ours["vae"][0]]["class_type"] == after[objective["reward"][0]]["class_type"] == "SGOOL_LoadDemoModel"
    assert after[objective["prompt"][0]]["inputs"] == {"value": "a red circle"}
    texts = [node["inputs"]["text"] for node in after.values() if node["class_type"] == "CLIPTextEncode"]
    assert sorted(texts, key=str) == ["", objective["prompt"]]
    assert "The prompt is now in the node Prompt" in said
    assert bits(server, before, after, ours) == (True, False)


def test_improved_where_the_prompt_is_in_a_subgraph_and_not_shown(page: Page, server: Server) -> None:
    opened(page, server.with_defaults(DEMO | KSAMPLER | USED_OUTSIDE), "SGOOL_LoadDemoModel", "CLIPTextEncode")
    page.run(UNPROMOTE)
    before = shown(page)
    assert "The prompt is inside of the subgraph Inside and was copied to Saliency CLIP Loss" in page.run(IMPROVE, "KSampler")
    after = shown(page)
    assert only(after, "SGOOL_SaliencyCLIPLoss")["prompt"] == "a red circle"
    assert bits(server, before, after, only(after, "SGOOL_KSampler")) == (True, False)


def test_improved_inside_of_a_subgraph_whose_widgets_stay(page: Page, server: Server) -> None:
    opened(page, DEMO | KSAMPLER, "SGOOL_LoadDemoModel", "CLIPTextEncode", "EmptyLatentImage", "KSampler")
    names = f"{HOST} return host.widgets.map(widget => widget.name)"
    shown_outside = page.run(names)
    assert {"text", "seed"} <= set(shown_outside)
    before = shown(page)
    page.run(ENTER)
    page.run(IMPROVE, "KSampler")
    page.run(LEAVE)
    after = shown(page)
    ours = only(after, "SGOOL_KSampler")
    assert page.run(names) == shown_outside
    assert {name: ours[name] for name in only(before, "KSampler")} == only(before, "KSampler")
    assert only(after, "SGOOL_SaliencyCLIPLoss")["prompt"] == "a red circle"
    assert bits(server, before, after, ours) == (True, False)
    page.run(f"{HOST} host.widgets.find(widget => widget.name === 'seed').value = 99")
    assert only(shown(page), "SGOOL_KSampler")["seed"] == 99
