"""A run as the page shows it: the bar, the preview, the cancel button, and the image that carries the graph."""

from __future__ import annotations

import base64
import itertools
import json
import time
from typing import Any

import pytest
from sgool.harness.client import Graph
from sgool.harness.page import Page
from sgool.harness.server import Server

pytestmark = pytest.mark.browser

RUN: Graph = {
    "1": {"class_type": "SGOOL_LoadDemoModel", "inputs": {}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle", "clip": ["1", 1]}},
    "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "4": {"class_type": "SGOOL_SaliencyCLIPLoss", "inputs": {"reward": ["1", 3], "prompt": "a red circle"}},
    "5": {
        "class_type": "SGOOL_KSampler",
        "inputs": {
            **{"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]},
            **{"steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "seed": 3, "denoise": 1.0},
            **{"objective": ["4", 0], "vae": ["1", 2], "preset": "balanced", "preset.iterations": 8},
        },
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "carries"}},
}
# Where the node's bar stands, and the preview that it shows, each time that the page has heard of either.
WATCH = """
window.seen = {bar: [], previews: [], file: null, end: null};
const node = window.app.graph.nodes.find(n => n.type === 'SGOOL_KSampler');
const api = window.app.api;
const look = () => setTimeout(() => node.progress === undefined || window.seen.bar.push(node.progress), 0);
for (const kind of ['progress', 'progress_state']) api.addEventListener(kind, look);
for (const kind of ['b_preview', 'b_preview_with_metadata']) api.addEventListener(kind, ({detail}) => {
    (detail.blob ?? detail).arrayBuffer().then(bytes => window.seen.previews.push([bytes.byteLength, new Uint8Array(bytes).join()]));
});
api.addEventListener('executed', ({detail}) => window.seen.file ??= detail.output?.images?.[0]);
for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
    api.addEventListener(kind, () => window.seen.end = kind);
"""
SEEN = "return {...window.seen, previews: window.seen.previews.length, different: new Set(window.seen.previews.map(p => p[1])).size}"
GRAPH = "return window.app.graphToPrompt().then(({output}) => JSON.stringify(output))"


def opened(page: Page, server: Server, iterations: int) -> None:
    """The page, with the graph in it."""
    graph = server.with_defaults(RUN | {"5": {**RUN["5"], "inputs": {**RUN["5"]["inputs"], "preset.iterations": iterations}}})
    page.open()
    page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which comes late
    page.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'run')", json.dumps(graph))
    page.wait_until("return window.app.graph.nodes.some(n => n.type === 'SGOOL_KSampler')")
    page.run(WATCH)


def ended(page: Page) -> dict[str, Any]:
    """What was seen of a run, once it has ended."""
    page.wait_until("return window.seen.end")
    found: dict[str, Any] = page.run(SEEN)
    return found


LASTING = 24
"""Iterations of a run that lasts long enough for previews, which take a share of its time at most (comfy_bridge/budget.py)."""


def test_bar_and_preview_while_it_runs(page: Page, server: Server) -> None:
    setting = {"Comfy.Execution.PreviewMethod": "auto"}
    server.post("/settings", setting)
    try:
        opened(page, server, iterations=LASTING)
        page.run("window.app.queuePrompt(0)")
        seen = ended(page)
    finally:
        server.post("/settings", dict.fromkeys(setting, "default"))
    assert seen["end"] == "execution_success"
    bar = seen["bar"]
    assert len(bar) > 4
    assert bar == sorted(bar)
    assert max(after - before for before, after in itertools.pairwise(bar)) < 0.5
    assert (seen["previews"] >= 2, seen["different"] >= 2) == (True, True)


def test_no_preview_where_it_is_switched_off(page: Page, server: Server) -> None:
    opened(page, server, iterations=2)
    page.run("window.app.queuePrompt(0)")
    assert ended(page)["previews"] == 0


def test_the_cancel_button_ends_a_run(page: Page, server: Server) -> None:
    opened(page, server, iterations=2000)
    page.run("window.app.queuePrompt(0)")
    page.wait_until("return window.seen.bar.length > 3")
    clicked = time.monotonic()
    button = page.wait_until("return [...document.querySelectorAll('button')].find(b => /interrupt|cancel/i.test(b.ariaLabel ?? ''))")
    button.click()
    assert ended(page)["end"] == "execution_interrupted"
    assert time.monotonic() - clicked < 10  # .4 s on a machine that does nothing else
    assert max(page.run(SEEN)["bar"]) < 0.9


def test_the_saved_image_carries_the_graph(page: Page, server: Server) -> None:
    opened(page, server, iterations=1)
    page.run("window.app.queuePrompt(0)")
    ended(page)
    before = json.loads(page.run(GRAPH))
    png = base64.b64encode(server.fetch(page.run("return window.seen.file"))).decode()
    page.run("window.app.graph.clear()")
    page.run(
        "const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));"
        "window.app.handleFile(new File([bytes], 'carries.png', {type: 'image/png'}), 'file_drop')",
        png,
    )
    page.wait_until("return window.app.graph.nodes.some(n => n.type === 'SGOOL_KSampler')")
    after = json.loads(page.run(GRAPH))
    # The seed goes on after each run; all else is as it was.
    for graph in (before, after):
        del graph["5"]["inputs"]["seed"]
    assert after == before
