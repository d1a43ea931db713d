"""Make the template for the page, ``workflows/NAME.json``, from ``workflows/api/NAME.json``: ``python -m harness.template NAME``.

The page itself does it, so that widgets, sockets and sizes are what this ComfyUI makes of them. Needs Chromium.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from . import comfyui
from .client import Graph
from .page import Page, start_chromium, why_no_browser
from .problems import SetupProblem, exit_with
from .server import ROOT, Server
from .workflow import load

LOAD = "window.app.loadApiJson(JSON.parse(arguments[0]), 'template')"  # as text: the driver would sort the keys
LOADED = "return window.app.graph.nodes.length === arguments[0]"
SERIALIZE = """
for (const node of window.app.graph.nodes)
    for (const widget of node.widgets ?? [])
        if (widget.name === 'control_after_generate') widget.value = 'fixed';
window.app.graph.arrange(60);
return JSON.stringify(window.app.graph.serialize());
"""
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
    """The graph in the editor in API format."""
    graph: Graph = json.loads(page.driver.execute_async_script(AS_API))
    return graph


def make(page: Page, graph: Graph) -> dict[str, Any]:
    """Load an API graph into the editor and return it as the page would save it."""
    page.open()
    page.run(LOAD, json.dumps(numbered(graph)))
    page.wait_until(LOADED, len(graph))
    made: dict[str, Any] = json.loads(page.run(SERIALIZE))
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
                made = make(Page(driver, server.url), load(ROOT / "workflows" / "api" / f"{name}.json"))
                target = ROOT / "workflows" / f"{name}.json"
                target.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
                print(target)
        finally:
            driver.quit()
    return 0


if __name__ == "__main__":
    exit_with(main)
