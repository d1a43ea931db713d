"""What cannot be run is said in the page in the node's own sentence, once, without a click: before the run and of a run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sgool.harness.client import Graph
from sgool.harness.page import Page
from sgool.harness.server import Server

from .test_page_run import RUN

pytestmark = pytest.mark.browser

TOLD = "return [...document.querySelectorAll('.p-toast-message')].map(each => each.innerText.split('\\n').filter(Boolean))"
OURS = f"const told = (() => {{ {TOLD} }})(); return told.length ? told : null"
NO_VAE = "There is no VAE: the objective judges images, so the latent has to be decoded. Connect the VAE of the model."
NO_PROMPT = "The prompt is empty; write what the image is to show."
OTHER_VAE = "This VAE is for latents of 3 channels, the model's have 16. Connect the VAE of this model."


def changed(node: str, **inputs: Any) -> Graph:
    """The graph with other inputs of a node; without those that are None."""
    now = {**RUN[node]["inputs"], **inputs}
    return RUN | {node: {**RUN[node], "inputs": {name: value for name, value in now.items() if value is not None}}}


PIXELS: Graph = {"vae": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}}}
WRAPPED: Graph = {
    **{name: node for name, node in RUN.items() if name != "5"},
    **PIXELS,
    "euler": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "sigmas": {"class_type": "BasicScheduler", "inputs": {"model": ["1", 0], "scheduler": "normal", "steps": 3, "denoise": 1.0}},
    "wrapped": {"class_type": "SGOOL_Sampler", "inputs": {"sampler": ["euler", 0], "objective": ["4", 0], "vae": ["vae", 0]}},
    "5": {
        "class_type": "SamplerCustom",
        "inputs": {
            **{"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0], "add_noise": True},
            **{"noise_seed": 1, "cfg": 1.0, "sampler": ["wrapped", 0], "sigmas": ["sigmas", 0]},
        },
    },
}
WRONG = {
    "before the run": (changed("5", vae=None), "SGOOL KSampler", NO_VAE),
    "in the run": (changed("4", prompt=""), "Saliency CLIP Loss", NO_PROMPT),
    "in a sampling node of core's": (WRAPPED, "SamplerCustom", OTHER_VAE),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_is_said_once_with_the_nodes_name(page: Page, server: Server, case: str) -> None:
    graph, node, sentence = WRONG[case]
    page.open()
    page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which comes late
    page.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'wrong')", json.dumps(server.with_defaults(graph)))
    kinds = json.dumps(sorted(each["class_type"] for each in graph.values()), separators=(",", ":"))
    page.wait_until("return JSON.stringify(window.app.graph.nodes.map(n => n.type).sort()) === arguments[0]", kinds)
    page.run("window.app.queuePrompt(0)")
    assert page.wait_until(OURS) == [[node, sentence]]


def test_nothing_is_said_of_a_run_that_ends(page: Page, server: Server) -> None:
    page.open()
    page.wait_until("return window.app.graph.nodes.length > 0")
    graph = server.with_defaults(changed("5", **{"preset.iterations": 1}))
    page.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'right')", json.dumps(graph))
    page.wait_until("return window.app.graph.nodes.some(n => n.type === 'SGOOL_KSampler')")
    page.run("window.ended = null; window.app.api.addEventListener('execution_success', () => { window.ended = true })")
    page.run("window.app.queuePrompt(0)")
    page.wait_until("return window.ended")
    assert page.run(TOLD) == []
