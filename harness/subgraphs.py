"""Subgraphs of a template: ``_meta.subgraph`` in ``workflows/api/NAME.json`` is the title of the subgraph that a node goes into.

The page makes them, by what its menu *Convert to Subgraph* does. ``_meta.promoted`` names the widgets of such a node that the subgraph
shows, each with its name there: ``{"noise_seed": "seed"}``; those that the page would choose by itself are not shown. ``_meta.output`` is
the name there of what the node gives.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from .client import Graph
from .layout import Node, in_order_of_links, with_room
from .page import Page

CONVERT = """
const [title, text] = arguments;
const members = JSON.parse(text);  // the driver would sort the keys
const graph = window.app.graph;
const nodes = members.map(member => graph.getNodeById(member.id));
const {subgraph, node} = graph.convertToSubgraph(new Set(nodes));
node.title = subgraph.name = title;
for (const input of [...subgraph.inputs]) {
    const outside = node.inputs.find(each => each.name === input.name);
    if (outside.link == null) subgraph.removeInput(input);  // what the page has promoted by itself
}
for (const {id, promoted, output} of members) {
    const inside = subgraph.getNodeById(id);
    for (const each of output ? subgraph.outputs : [])
        if (each.linkIds.some(link => subgraph.getLink(link).origin_id === inside.id)) subgraph.renameOutput(each, output);
    for (const [name, label] of Object.entries(promoted)) {
        const slot = inside.getSlotFromWidget(inside.widgets.find(widget => widget.name === name));
        const input = subgraph.addInput(label, String(slot.type));
        input.connect(slot, inside);
    }
}
node.setSize(node.computeSize());
const links = [...subgraph.links.values()].map(link => [Number(link.origin_id), Number(link.target_id)]);
return {id: Number(node.id), nodes: subgraph.nodes.map(each => [Number(each.id), each.type, [...each.size]]), links};
"""
ARRANGE_INSIDE = """
const [id, positions, sizes, width] = arguments;
const {subgraph} = window.app.graph.getNodeById(id);
for (const node of subgraph.nodes) {
    node.setSize(sizes[node.id]);
    node.pos = positions[node.id];
}
for (const border of [subgraph.inputNode, subgraph.outputNode]) border.arrange();
subgraph.inputNode.pos = [-60 - subgraph.inputNode.size[0], 0];
subgraph.outputNode.pos = [width + 60, 0];
for (const border of [subgraph.inputNode, subgraph.outputNode]) border.arrange();
"""
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOWHERE = "00000000-0000-0000-0000-000000000000"  # the id of a workflow that was never saved


def titled(graph: Graph) -> dict[str, list[int]]:
    """Title -> the ids of its nodes, of a graph whose ids are numbers."""
    found: dict[str, list[int]] = {}
    for name, node in graph.items():
        if title := node.get("_meta", {}).get("subgraph"):
            found.setdefault(title, []).append(int(name))
    return found


def convert(page: Page, graph: Graph) -> dict[int, list[int]]:
    """Make the subgraphs of the graph that is open in the page; the id of each one's node -> the ids of the nodes inside."""
    made = {}
    for title, ids in titled(graph).items():
        about = {each: graph[str(each)]["_meta"] for each in ids}
        members = [{"id": each, "promoted": meta.get("promoted", {}), "output": meta.get("output")} for each, meta in about.items()]
        told = page.run(CONVERT, title, json.dumps(members))
        sizes = {node: with_room(Node(node, kind, size, "")) for node, kind, size in told["nodes"]}
        positions, width = in_order_of_links(sizes, [(origin, target) for origin, target in told["links"]])
        page.run(ARRANGE_INSIDE, told["id"], positions, sizes, width)
        made[told["id"]] = ids
    return made


def firsts(page: Page, inside: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """The ids of the nodes in the page, with the smallest id of what is inside or its own: in the order of the file."""
    ids: list[int] = page.run("return window.app.graph.nodes.map(node => Number(node.id))")
    return dict(sorted(((each, min(inside.get(each, [each]))) for each in ids), key=lambda pair: pair[1]))


def flat(graph: Graph) -> Graph:
    """A graph of the page in API format with the ids that its nodes had before they went into subgraphs: ``20:3`` is ``3`` again."""

    def inner(name: Any) -> str:
        return str(name).rpartition(":")[2]

    def renamed(value: Any) -> Any:
        return [inner(value[0]), value[1]] if isinstance(value, list) and len(value) == 2 and value[0] in graph else value

    return {inner(name): {**node, "inputs": {key: renamed(value) for key, value in node["inputs"].items()}} for name, node in graph.items()}


def with_lasting_ids(text: str, name: str) -> str:
    """The text of a saved graph with ids that follow from its name instead of the random ones that the page gives each time."""
    given = [each for each in dict.fromkeys(ID.findall(text)) if each != NOWHERE]
    lasting = {old: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{number}")) for number, old in enumerate(given)}
    return ID.sub(lambda found: lasting.get(found[0], found[0]), text)
