"""Make the images of small graphs in the help pages, ``web/docs/img/NODE.webp``: ``python -m harness.help_images [NODE...]``.

Each page links to a template; its image shows the node there, with what it is linked to folded above and below, narrow enough to be read in
the page's help panel. A node that its template lacks is shown with what takes its output. Needs Chromium.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from . import comfyui
from .client import Graph
from .page import Page, start_chromium, why_no_browser
from .problems import SetupProblem, exit_with
from .server import ROOT, Server, stop_on_signals
from .template import LOAD, numbered
from .workflow import load

PAGES = ROOT / "web" / "docs"
TEMPLATE = re.compile(r"\]\(\?template=([\w.-]+)&source=sgool\)")
TAKERS = {  # a node in no template -> the node that takes its output, the input, and the output's number
    "SGOOL_LoadReward": ("SGOOL_SaliencyCLIPLoss", "reward", 0),
    "SGOOL_RewardFromCLIP": ("SGOOL_SaliencyCLIPLoss", "reward", 0),
    "SGOOL_RewardFromVLM": ("SGOOL_SaliencyCLIPLoss", "reward", 0),
    "SGOOL_Settings": ("SGOOL_KSampler", "settings", 0),
    "SGOOL_BestOfNAdvanced": ("PreviewImage", "images", 1),
    "SGOOL_RewardScore": ("PreviewAny", "source", 0),
    "SGOOL_Pick": ("PreviewImage", "images", 1),
}
LOADED = "return JSON.stringify(window.app.graph.nodes.map(n => n.type).sort()) === arguments[0]"
MARGIN, FOLDED, INDENT, LEFT, TOP = 12, 38, 60, 300, 150  # pixels; where the image stands in the page keeps clear of its bars
SHOW = """
const [kind, left, top, folded, indent, margin] = arguments;
const canvas = window.app.canvas, nodes = window.app.graph.nodes;
const node = nodes.find(n => n.type === kind);
const inputs = new Set(node.inputs.filter(i => i.link != null).map(i => window.app.graph.links.get(i.link).origin_id));
const before = nodes.filter(n => inputs.has(n.id)), after = nodes.filter(n => n !== node && !inputs.has(n.id));
let y = 30;
for (const each of before) { if (!each.flags.collapsed) each.collapse(true); each.pos = [0, y]; y += folded; }
node.setSize([Math.max(280, Math.min(node.size[0], 330)), node.size[1]]);
node.pos = [before.length ? indent : 0, y += before.length ? 20 : 0];
y += node.size[1] + 40;
for (const each of after) { if (!each.flags.collapsed) each.collapse(true); each.pos = [node.pos[0] + indent, y]; y += folded; }
canvas.ds.scale = 1;
canvas.ds.offset = [0, 0];
canvas.deselectAll();
canvas.draw(true, true);
const box = canvas.canvas.getBoundingClientRect();
canvas.ds.offset = [left - box.left, top - box.top];
canvas.draw(true, true);
const bottom = after.length ? y - folded : node.pos[1] + node.size[1];
const right = Math.max(...nodes.map(n => n.pos[0] + (n.flags.collapsed ? n._collapsed_width ?? 160 : n.size[0])));
return [left - margin, top - margin, right + 2 * margin, bottom + 2 * margin];
"""


def template_of(node: str) -> str:
    """The template that a node's help page links to. Raises SetupProblem for a page without one."""
    found = TEMPLATE.search((PAGES / f"{node}.md").read_text(encoding="utf-8"))
    if found is None:
        raise SetupProblem(f"web/docs/{node}.md links to no template, as [words](?template=NAME&source=sgool).")
    return found[1]


def neighborhood(graph: Graph, kind: str) -> Graph:
    """The first node of a kind, what it takes its inputs from and what takes its outputs; empty where there is none."""
    name = next((name for name, node in graph.items() if node["class_type"] == kind), None)
    if name is None:
        return {}

    def sources(node: dict[str, Any]) -> set[str]:
        return {value[0] for value in node["inputs"].values() if isinstance(value, list)}

    kept = {name} | sources(graph[name]) | {other for other, node in graph.items() if name in sources(node)}
    return {
        other: {
            "class_type": graph[other]["class_type"],  # its own name: a template's title says what it is for there
            "inputs": {
                key: value
                for key, value in graph[other]["inputs"].items()
                if not isinstance(value, list) or (value[0] in kept and name in (other, value[0]))
            },
        }
        for other in graph
        if other in kept
    }


def small_graph(node: str) -> Graph:
    """What the image of a node shows, in API format."""
    if found := neighborhood(load(ROOT / "workflows" / "api" / f"{template_of(node)}.json"), node):
        return found
    taker, name, output = TAKERS[node]
    return {"1": {"class_type": node, "inputs": {}}, "2": {"class_type": taker, "inputs": {name: ["1", output]}}}


def draw(page: Page, node: str) -> Image.Image:
    """The image of a node's small graph, as the page draws it."""
    graph = numbered(small_graph(node))
    page.run(LOAD, json.dumps(graph))
    page.wait_until(LOADED, json.dumps(sorted(each["class_type"] for each in graph.values()), separators=(",", ":")))
    page.run(SHOW, node, LEFT, TOP, FOLDED, INDENT, MARGIN)
    time.sleep(1.5)
    left, top, width, height = page.run(SHOW, node, LEFT, TOP, FOLDED, INDENT, MARGIN)  # folded nodes know their width once drawn
    time.sleep(0.5)
    return page.screenshot((left, top, width, height))


def main(arguments: list[str]) -> int:
    """Make the images of the named nodes, or of all that have a help page."""
    parser = argparse.ArgumentParser(prog="run.py help_images", description="Draw the small graphs of the help pages.")
    parser.add_argument("nodes", nargs="*", help="nodes, such as SGOOL_KSampler (default: all)")
    nodes = parser.parse_args(arguments).nodes or sorted(path.stem for path in PAGES.glob("*.md"))
    tree = comfyui.find()
    if tree is None or why_no_browser():
        raise SetupProblem(why_no_browser() or "no ComfyUI was found; `python run.py setup` brings one.")
    stop_on_signals()
    (PAGES / "img").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as base, Server(tree, Path(base)) as server:
        server.post(
            "/settings", {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.NodeBadge.NodeSourceBadgeMode": "None"}
        )
        driver = start_chromium()
        driver.set_window_size(1600, 1500)
        try:
            page = Page(driver, server.url)
            for node in nodes:
                page.open()  # anew: a widget begins with the value of its namesake in the graph before, on a node of the same number
                page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which would come over another
                target = PAGES / "img" / f"{node}.webp"
                draw(page, node).save(target, quality=80, method=6)
                print(f"{target} {target.stat().st_size} bytes")
        finally:
            driver.quit()
    return 0


if __name__ == "__main__":
    exit_with(main)
