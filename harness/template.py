"""Make the template for the page, ``workflows/NAME.json``, from ``workflows/api/NAME.json``: ``python -m harness.template NAME``.

The page itself does it, so that widgets, sockets and sizes are what this ComfyUI makes of them. Needs Chromium.

Where nodes stand is said in `layout.py`; ``_meta.group`` names a node's group, ``_meta.collapsed`` folds it, ``_meta.subgraph`` puts it
into a subgraph (`subgraphs.py`). What an API graph has no place for: ``workflows/api/NAME.md``, where there is one, becomes a note beside
the graph, and the files that it links to and a node loads go to that node's ``models``, which the page reads to say what is missing and
offer it.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from . import comfyui
from .client import Graph
from .layout import Node, arranged
from .page import Page, start_chromium, why_no_browser
from .problems import SetupProblem, exit_with
from .server import ROOT, Server
from .subgraphs import convert, firsts, flat, with_lasting_ids
from .workflow import load

LOAD = "window.app.loadApiJson(JSON.parse(arguments[0]), 'template')"  # as text: the driver would sort the keys
FIX_SEEDS = """
for (const node of window.app.graph.nodes)
    for (const widget of node.widgets ?? [])
        if (widget.name === 'control_after_generate') widget.value = 'fixed';
"""
LOADED = "return window.app.graph.nodes.length === arguments[0]"
NODES = """
return window.app.graph.nodes.map(node => [Number(node.id), node.type, [...node.size]]);
"""
ARRANGE = """
const [layout, collapsed] = arguments;
for (const node of window.app.graph.nodes) {
    node.setSize(layout.sizes[node.id]);
    node.pos = layout.positions[node.id];
    if (collapsed.includes(Number(node.id))) node.collapse(true);
}
for (const {title, box} of layout.groups) {
    const group = new window.LiteGraph.LGraphGroup(title);
    group.pos = box.slice(0, 2);
    group.size = box.slice(2);
    window.app.graph.add(group);
}
"""
NOTE = """
const note = window.LiteGraph.createNode('MarkdownNote');
window.app.graph.add(note);
note.title = 'Read me';
note.widgets[0].value = arguments[0];
note.setSize(arguments[1]);
note.pos = [-arguments[1][0] - 30, 30];  // at the left, where reading begins
note.color = '#432';
note.bgcolor = '#653';
"""
SERIALIZE = "return JSON.stringify(window.app.graph.serialize())"
LINK = re.compile(r"\[([^\]]+)\]\((https://\S+?/resolve/\S+?)\)[^`\n]*`models/([^`]+)`")  # a file, where from, where to
SHORT_NOTE, LONG_NOTE = (240, 420), (480, 800)  # width and height
AS_API = "const done = arguments[0]; window.app.graphToPrompt().then(made => done(JSON.stringify(made.output)))"


def numbered(graph: Graph) -> Graph:
    """The same graph with numbers for ids, in the order of the file, as the page gives them."""
    number = {node: str(index) for index, node in enumerate(graph, 1)}

    def renamed(value: Any) -> Any:
        linked = isinstance(value, list) and len(value) == 2 and value[0] in number
        return [number[value[0]], value[1]] if linked else value

    return {
        number[node]: {**entry, "inputs": {name: renamed(value) for name, value in entry["inputs"].items()}}
        for node, entry in graph.items()
    }


def shown(page: Page) -> Graph:
    """The graph in the editor in API format, nodes of subgraphs among the others."""
    return flat(json.loads(page.driver.execute_async_script(AS_API)))


def differences(wanted: Graph, opened: Graph) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Inputs of ``wanted`` that another graph of the same nodes has otherwise or not at all: (class, input) -> both values."""
    return {
        (node["class_type"], key): (value, opened[name]["inputs"].get(key))
        for name, node in wanted.items()
        for key, value in node["inputs"].items()
        if opened[name]["inputs"].get(key) != value
    }


def add_models(made: dict[str, Any], note: str) -> None:
    """Give each node whose widget names a file that ``note`` links to the place where that file is to be had, as core's templates do."""
    linked = {name: {"name": name, "url": url, "directory": folder} for name, url, folder in LINK.findall(note)}
    inside = [node for subgraph in made.get("definitions", {}).get("subgraphs", []) for node in subgraph["nodes"]]
    for node in made["nodes"] + inside:
        models = [linked[value] for value in node.get("widgets_values") or [] if isinstance(value, str) and value in linked]
        if models:
            node["properties"]["models"] = models


def make(page: Page, graph: Graph, note: str = "") -> dict[str, Any]:
    """Load an API graph into the editor, with a note beside it, and return it as the page would save it."""
    page.open()
    page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which would come over this one
    page.run(LOAD, json.dumps(numbered(graph)))
    page.wait_until(LOADED, len(graph))
    told = {int(name): node.get("_meta", {}) for name, node in numbered(graph).items()}
    collapsed = [name for name, meta in told.items() if meta.get("collapsed")]
    page.run(FIX_SEEDS)
    inside = convert(page, numbered(graph))
    first = firsts(page, inside)  # a subgraph stands where its first node would
    made_of = {name: (kind, size) for name, kind, size in page.run(NODES)}
    nodes = [Node(name, *made_of[name], told[first[name]]["group"], name in collapsed, name in inside) for name in first]
    layout = arranged(nodes)
    page.run(
        ARRANGE, {"positions": layout.positions, "sizes": layout.sizes, "groups": [group._asdict() for group in layout.groups]}, collapsed
    )
    if note:
        page.run(NOTE, note, SHORT_NOTE if len(note) < 1000 else LONG_NOTE)
    made: dict[str, Any] = json.loads(page.run(SERIALIZE))
    add_models(made, note)
    return made


def main(arguments: list[str]) -> int:
    """Make the named templates."""
    tree = comfyui.find()
    if tree is None or why_no_browser():
        raise SetupProblem(why_no_browser() or "no ComfyUI was found; `python run.py setup` brings one.")
    with tempfile.TemporaryDirectory() as base, Server(tree, Path(base)) as server:
        server.post("/settings", {"Comfy.TutorialCompleted": True})
        driver = start_chromium()
        try:
            for name in arguments:
                source = ROOT / "workflows" / "api" / f"{name}.json"
                note = source.with_suffix(".md")
                text = note.read_text(encoding="utf-8") if note.exists() else ""
                made = make(Page(driver, server.url), load(source), text)
                target = ROOT / "workflows" / f"{name}.json"
                target.write_text(with_lasting_ids(json.dumps(made, indent=1), name) + "\n", encoding="utf-8")
                print(target)
        finally:
            driver.quit()
    return 0


if __name__ == "__main__":
    exit_with(main)
