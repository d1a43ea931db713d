"""*Improve with SGOOL* in the menu of sampling nodes, in the real page: on the graph that it opens with, and run on the demo model."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import safetensors.torch
import torch
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from sgool.harness.client import Graph
from sgool.harness.page import Page
from sgool.harness.screenshots import ITEM as ITEM_IN_SIGHT
from sgool.harness.server import Server
from sgool.harness.template import shown

pytestmark = pytest.mark.browser

# The menu that a right click shows.
ITEM = """
const node = window.app.graph.nodes.find(n => n.type === arguments[0]);
const item = window.app.canvas.getNodeMenuOptions(node).find(i => i?.content?.startsWith('Improve with SGOOL'));
"""
CLICK = f"{ITEM} if (item && !item.disabled) item.callback(); return item ? item.content : null"
OFFERED = f"{ITEM} return item ? [item.content, item.disabled] : null"
# Pairs of nodes, titles included, that lie on each other.
COVERING = """
const boxes = window.app.graph.nodes.map(n => [n.type, n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0], n.pos[1] + n.size[1]]);
const covers = (a, b) => a[1] < b[3] && b[1] < a[3] && a[2] < b[4] && b[2] < a[4];
return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => covers(a, b)).map(b => [a[0], b[0]]));
"""
SET = """
const node = window.app.graph.nodes.find(n => n.type === arguments[0]);
for (const [name, value] of Object.entries(arguments[1])) node.widgets.find(w => w.name === name).value = value;
"""
NEW = ["PrimitiveStringMultiline", "SGOOL_KSampler", "SGOOL_SaliencyCLIPLoss"]
UNDO = "return window.app.extensionManager.command.execute('Comfy.Undo')"

DEMO: Graph = {
    "1": {"class_type": "SGOOL_LoadDemoModel", "inputs": {}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "5": {"class_type": "SaveLatent", "inputs": {"samples": ["6", 0], "filename_prefix": "improve"}},
}
ENDS = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
SCHEDULE: Graph = {
    "7": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler_ancestral"}},
    "8": {"class_type": "BasicScheduler", "inputs": {"model": ["1", 0], "scheduler": "karras", "steps": 3, "denoise": 1.0}},
}
ALL_STEPS = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable"}
NUMBERS = {"steps": 3, "cfg": 2.5, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
KSAMPLER: Graph = {"6": {"class_type": "KSampler", "inputs": {**ENDS, **NUMBERS, "seed": 12345678901, "denoise": 0.9}}}
ADVANCED: Graph = {"6": {"class_type": "KSamplerAdvanced", "inputs": {**ENDS, **NUMBERS, **ALL_STEPS, "noise_seed": 7}}}
CUSTOM: Graph = SCHEDULE | {
    "6": {
        "class_type": "SamplerCustom",
        "inputs": {**ENDS, "add_noise": True, "noise_seed": 7, "cfg": 2.0, "sampler": ["7", 0], "sigmas": ["8", 0]},
    }
}
CUSTOM_ADVANCED: Graph = SCHEDULE | {
    "9": {"class_type": "CFGGuider", "inputs": {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "cfg": 2.0}},
    "10": {"class_type": "RandomNoise", "inputs": {"noise_seed": 7}},
    "6": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {"noise": ["10", 0], "guider": ["9", 0], "sampler": ["7", 0], "sigmas": ["8", 0], "latent_image": ["4", 0]},
    },
}


@pytest.fixture
def opened(page: Page) -> Callable[[Graph], Graph]:
    """Open a graph in the page, which numbers the nodes in its order, and return it as the page would queue it."""

    def opened(graph: Graph) -> Graph:
        page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which comes late
        page.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'improve')", json.dumps(graph))
        kinds = sorted(node["class_type"] for node in graph.values())
        page.wait_until("return JSON.stringify(window.app.graph.nodes.map(n => n.type).sort()) === arguments[0]", _as_js(kinds))
        return shown(page)

    return opened


def _as_js(kinds: list[str]) -> str:
    return json.dumps(kinds, separators=(",", ":"))


def only(graph: Graph, kind: str) -> dict[str, Any]:
    (node,) = (node for node in graph.values() if node["class_type"] == kind)
    inputs: dict[str, Any] = node["inputs"]
    return inputs


def latent_of(server: Server, graph: Graph) -> torch.Tensor:
    (saved,) = (output["latents"][0] for output in server.run(graph).values() if "latents" in output)
    return safetensors.torch.load(server.fetch(saved))["latent_tensor"]


def test_the_graph_that_the_page_opens_with(page: Page) -> None:
    page.wait_until("return window.app.graph.nodes.length > 0")
    page.run("window.app.loadGraphData()")  # the default; the page itself may open what was open last
    page.wait_until("return window.app.graph.nodes.some(n => n.type === 'KSampler')")
    before = shown(page)
    old = only(before, "KSampler")
    assert page.run(CLICK, "KSampler") == "Improve with SGOOL"
    after = shown(page)
    new = only(after, "SGOOL_KSampler")
    assert {name: new[name] for name in old} == old
    assert new["vae"] == only(before, "VAEDecode")["vae"]
    objective, positive = only(after, "SGOOL_SaliencyCLIPLoss"), after[new["positive"][0]]["inputs"]
    assert after[new["objective"][0]]["inputs"] is objective
    assert objective["prompt"] == positive["text"]  # one link from one text
    assert only(after, "PrimitiveStringMultiline")["value"] == before[old["positive"][0]]["inputs"]["text"]
    assert "reward" not in objective
    # The first there is; "none" where there is none, which the run refuses, with what to get.
    widgets = "window.app.graph.nodes.find(n => n.type === 'SGOOL_SaliencyCLIPLoss').widgets"
    assert objective["reward_name"] == page.run(f"return {widgets}.find(w => w.name === 'reward_name').options.values[0]")
    assert len(after) == len(before) + 2
    decoded = after[only(after, "VAEDecode")["samples"][0]]
    assert decoded["inputs"] is new
    assert page.run(COVERING) == []
    page.run(UNDO)
    page.wait_until("return window.app.graph.nodes.some(n => n.type === 'KSampler')", timeout=20)
    assert shown(page) == before


PLACE = """
const node = window.app.graph.nodes.find(n => n.type === 'KSampler');
const vue = document.querySelector(`[data-node-id="${node.id}"] .lg-node-header`)?.getBoundingClientRect();
if (vue?.width) return [vue.left + vue.width / 2, vue.top + vue.height / 2];
const [x, y] = window.app.canvas.ds.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] - 15]);
const box = window.app.canvas.canvas.getBoundingClientRect();
return [box.left + x, box.top + y];
"""
KINDS = "return window.app.graph.nodes.map(n => n.type).sort()"


@pytest.fixture(params=[False, True], ids=["canvas", "vue"])
def design(request: pytest.FixtureRequest, server: Server) -> Iterator[None]:
    server.post("/settings", {"Comfy.VueNodes.Enabled": request.param})
    yield
    server.post("/settings", {"Comfy.VueNodes.Enabled": False})


def mouse(page: Page, place: list[float], button: str) -> None:
    """Click at a place of the window."""
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        event = {"type": kind, "x": place[0], "y": place[1], "button": "none" if kind == "mouseMoved" else button, "clickCount": 1}
        page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def still(page: Page) -> list[float]:
    """Where the KSampler's title is, once it has stayed there: the page lays the graph out anew while it loads."""
    places = [page.run(PLACE)]
    while len(places) < 4 or places[-4:] != places[-1:] * 4:
        assert len(places) < 60
        time.sleep(0.5)
        places.append(page.run(PLACE))
    return places[-1]


def menu_item(page: Page) -> list[float]:
    """Where the item is in the menu of a right click, which a busy page at times takes no notice of."""
    for _ in range(3):
        mouse(page, still(page), "right")
        with contextlib.suppress(TimeoutError):
            place: list[float] = page.wait_until(ITEM_IN_SIGHT, "Improve with SGOOL", timeout=10)
            return place
    raise TimeoutError("a right click on the KSampler shows no menu with Improve with SGOOL")


def undo(page: Page) -> None:
    """Control and Z, until the KSampler is back: a busy page at times takes no notice of them either."""
    for _ in range(3):
        # Keys of no element: the one that has the focus may be drawn anew meanwhile.
        ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
        with contextlib.suppress(TimeoutError):
            page.wait_until("return window.app.graph.nodes.some(n => n.type === 'KSampler')", timeout=10)
            return
    raise TimeoutError("Control and Z do not bring the KSampler back")


@pytest.mark.usefixtures("design")
def test_with_mouse_and_keys_on_the_graph_that_the_page_opens_with(page: Page) -> None:
    page.open()
    page.wait_until("return window.app.graph.nodes.length > 0")
    page.run("window.app.loadGraphData()")  # the default; the page itself may open what was open last
    page.wait_until("return window.app.graph.nodes.some(n => n.type === 'KSampler')")
    still(page)
    before, kinds = shown(page), page.run(KINDS)
    mouse(page, menu_item(page), "left")
    page.wait_until("return window.app.graph.nodes.some(n => n.type === 'SGOOL_KSampler')", timeout=20)
    assert page.run(KINDS) == sorted([*(kind for kind in kinds if kind != "KSampler"), *NEW])
    undo(page)
    assert shown(page) == before


@pytest.mark.parametrize("sampling", [KSAMPLER, ADVANCED, CUSTOM, CUSTOM_ADVANCED], ids=lambda graph: graph["6"]["class_type"])
def test_with_zero_iterations_the_latent_is_the_old_ones_bit_for_bit(
    sampling: Graph, page: Page, server: Server, opened: Callable[[Graph], Graph]
) -> None:
    before = opened(DEMO | sampling)
    assert page.run(CLICK, sampling["6"]["class_type"]) == "Improve with SGOOL"
    after = shown(page)
    kind = "SGOOL_KSampler" if "KSampler" in sampling["6"]["class_type"] else "SGOOL_Sampler"
    ours = only(after, kind)
    model = next(name for name, node in after.items() if node["class_type"] == "SGOOL_LoadDemoModel")
    assert ours["vae"] == [model, 2]
    objective = after[ours["objective"][0]]["inputs"]
    assert objective["reward"] == [model, 3]  # the graph has a reward; none is added
    assert after[objective["prompt"][0]]["inputs"]["value"] == "a red circle"
    assert only(after, "SGOOL_SaliencyCLIPLoss") is objective
    ours["preset.iterations"] = 0
    assert torch.equal(latent_of(server, after), latent_of(server, before))
    ours["preset.iterations"] = 1
    assert not torch.equal(latent_of(server, after), latent_of(server, before))


def test_values_that_the_page_would_round_are_kept(page: Page, opened: Callable[[Graph], Graph]) -> None:
    """As a saved graph may have them: the page rounds what is typed, to one place for cfg."""
    odd = {"cfg": 4.98, "denoise": 0.30000000000000004}
    opened(DEMO | KSAMPLER)
    page.run(SET, "KSampler", odd)
    page.run(CLICK, "KSampler")
    new = only(shown(page), "SGOOL_KSampler")
    assert {name: new[name] for name in odd} == odd


SOUND: Graph = {"11": {"class_type": "VAEDecodeAudio", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}}}
IMAGE: Graph = {"12": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}}}
NO_IMAGE = "Improve with SGOOL (what it makes is no image: VAE Decode Audio decodes it)"


def test_what_decodes_to_no_image_is_refused(page: Page, opened: Callable[[Graph], Graph]) -> None:
    between: Graph = {"13": {"class_type": "LatentFlip", "inputs": {"samples": ["6", 0], "flip_method": "x-axis: vertically"}}}
    behind = {"11": {**SOUND["11"], "inputs": {"samples": ["13", 0], "vae": ["1", 2]}}}
    for graph in (SOUND, between | behind):
        opened(DEMO | KSAMPLER | graph)
        assert page.run(OFFERED, "KSampler") == [NO_IMAGE, True]
    opened(DEMO | KSAMPLER | SOUND | IMAGE)  # a video with its sound
    assert page.run(OFFERED, "KSampler") == ["Improve with SGOOL", False]


FIRST, LAST = (
    {
        "14": {"class_type": "SplitSigmas", "inputs": {"sigmas": ["8", 0], "step": 1}},
        "6": {"class_type": "SamplerCustom", "inputs": {**CUSTOM["6"]["inputs"], "sigmas": ["14", slot]}},
    }
    for slot in (0, 1)
)
NO_NOISE: Graph = {"10": {"class_type": "DisableNoise", "inputs": {}}}
WITHOUT = {"6": {"class_type": "SamplerCustom", "inputs": {**CUSTOM["6"]["inputs"], "add_noise": False}}}


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        pytest.param(SCHEDULE | FIRST, "it samples the first steps alone: its image still has noise in it", id="first steps"),
        pytest.param(SCHEDULE | LAST, "", id="last steps"),
        pytest.param(CUSTOM_ADVANCED | NO_NOISE, "it adds no noise, which is what is improved", id="DisableNoise"),
        pytest.param(CUSTOM | WITHOUT, "it adds no noise, which is what is improved", id="add_noise"),
    ],
)
def test_a_part_of_a_schedule_is_refused(graph: Graph, reason: str, page: Page, opened: Callable[[Graph], Graph]) -> None:
    opened(DEMO | graph)
    item = f"Improve with SGOOL ({reason})" if reason else "Improve with SGOOL"
    assert page.run(OFFERED, graph["6"]["class_type"]) == [item, bool(reason)]


def test_what_cannot_be_improved_says_why(page: Page, opened: Callable[[Graph], Graph]) -> None:
    some = {"6": {"class_type": "KSamplerAdvanced", "inputs": {**ADVANCED["6"]["inputs"], "start_at_step": 1}}}
    opened(DEMO | some)
    assert page.run(OFFERED, "KSamplerAdvanced") == ["Improve with SGOOL (SGOOL KSampler samples all steps, this node some)", True]
    assert page.run(OFFERED, "CLIPTextEncode") is None
    opened(DEMO | CUSTOM)
    page.run(CLICK, "SamplerCustom")
    assert page.run(OFFERED, "SamplerCustom") == ["Improve with SGOOL (it has an SGOOL Sampler)", True]
