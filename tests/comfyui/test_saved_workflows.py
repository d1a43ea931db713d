"""Workflows saved by a release go on working: ``saved/RELEASE`` holds one as the page saved it, the same for scripts, and what every
node is known by.

For a new release copy ``workflows/SGOOL-KSampler.json`` there as ``page.json`` and ``workflows/api/SGOOL-KSampler.json`` as
``api.json``, and write ``nodes.json`` with ``SGOOL_SAVE=RELEASE python run.py test tests/comfyui/test_saved_workflows.py``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from sgool.harness.page import Page
from sgool.harness.server import Server
from sgool.harness.template import differences, numbered, shown

pytestmark = pytest.mark.server

SAVED = Path(__file__).parent / "saved"
RELEASES = sorted(path.name for path in SAVED.iterdir())
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")


def read(release: str, name: str) -> Any:
    return json.loads((SAVED / release / f"{name}.json").read_text(encoding="utf-8"))


def sockets(info: dict[str, Any]) -> dict[str, list[str]]:
    """What a saved workflow knows a node by: its widgets in their order, its inputs, its outputs' types in their order."""
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    widgets = [name for name, spec in inputs.items() if spec[0] in WIDGETS or isinstance(spec[0], list)]
    return {"widgets": widgets, "inputs": sorted(set(inputs) - set(widgets)), "outputs": list(info["output"])}


def broken(saved: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """Per node, what a workflow would no longer find."""
    found = {}
    for node, old in saved.items():
        new = now.get(node)
        if new is None:
            found[node] = "is gone"
        elif [name for name in new["widgets"] if name in old["widgets"]] != old["widgets"]:
            found[node] = f"widgets were {old['widgets']} and are {new['widgets']}"
        elif not set(old["inputs"]) <= set(new["inputs"]) or new["outputs"][: len(old["outputs"])] != old["outputs"]:
            found[node] = f"was {old} and is {new}"
    return found


@pytest.mark.parametrize("release", RELEASES)
def test_nodes_keep_what_workflows_know_them_by(server: Server, release: str) -> None:
    now = {name: sockets(info) for name, info in server.get("/object_info").items() if info["python_module"] == "custom_nodes.sgool"}
    if os.environ.get("SGOOL_SAVE") == release:
        text = json.dumps(now, indent=1, sort_keys=True) + "\n"
        (SAVED / release / "nodes.json").write_text(text, encoding="utf-8")
    assert broken(read(release, "nodes"), now) == {}


def test_what_would_break_a_workflow_is_named() -> None:
    old = {"A": {"widgets": ["x", "y"], "inputs": ["model"], "outputs": ["IMAGE"]}}
    longer = {"widgets": ["x", "y", "z"], "inputs": ["model", "vae"], "outputs": ["IMAGE", "MASK"]}
    assert broken(old, {"A": longer}) == {}
    for changed in ({"widgets": ["y", "x"]}, {"widgets": ["x"]}, {"inputs": []}, {"outputs": ["MASK", "IMAGE"]}):
        assert set(broken(old, {"A": {**longer, **changed}})) == {"A"}
    assert broken(old, {}) == {"A": "is gone"}


@pytest.mark.parametrize("release", RELEASES)
def test_a_saved_script_is_still_valid(server: Server, release: str) -> None:
    server.cancel(server.submit(read(release, "api")))  # a graph that does not validate is refused, which raises


@pytest.mark.browser
@pytest.mark.parametrize("release", RELEASES)
def test_a_saved_page_opens_with_the_same_values(page: Page, release: str) -> None:
    wanted = numbered(read(release, "api"))
    page.open()
    page.run("window.app.loadGraphData(JSON.parse(arguments[0]))", json.dumps(read(release, "page")))
    page.wait_until("return window.app.graph.nodes.length === arguments[0]", len(wanted))
    assert differences(wanted, shown(page)) == {}
