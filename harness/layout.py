"""Where a template's nodes stand: titled groups from left to right, in each the nodes one below the other, with room for what they show.

A node's group is ``_meta.group`` in ``workflows/api/NAME.json``; groups stand in the order in which the file first names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

HEAD = 30  # a node's title stands above its position
GAP = 30
MARGIN = 15  # between a group's edge and its nodes
HIGHEST = 1000  # of a column of nodes or of groups: the page shows the whole graph when it opens, and draws text from a zoom of 57 % on
NARROWEST = 220  # a node narrower than that has its title cut
SUBGRAPH = 270  # and one of a subgraph has a mark at each end of its title
FOOT = 30  # Nodes 2.0 hangs a button below that enters the subgraph
PROMPTS = ("CLIPTextEncode", "PrimitiveStringMultiline")

IMAGES = ("PreviewImage", "SaveImage", "MaskPreview")
ROOM = {  # what a node needs beyond its widgets after a run, measured in the page: least width, additional height
    "SGOOL_KSampler": (340, 190),
    "SGOOL_BestOfN": (340, 190),
    "SGOOL_ObjectiveScore": (260, 150),
    "SGOOL_RewardScore": (300, 100),
    "SGOOL_DemoJudge": (300, 60),
    "SGOOL_Report": (300, 200),
    "SGOOL_CompareSaliency": (300, 120),
    "SGOOL_Pick": (360, 410),  # four images
    "SamplerCustomAdvanced": (212, 80),
}

Size = tuple[float, float]
Position = tuple[float, float]


class Node(NamedTuple):
    """A node as the page made it."""

    id: int
    type: str
    size: Size
    group: str
    collapsed: bool = False
    subgraph: bool = False


class Group(NamedTuple):
    """A titled frame: left, top, width and height."""

    title: str
    box: tuple[float, float, float, float]


class Layout(NamedTuple):
    """Position and size of each node, by its id, and the groups."""

    positions: dict[int, Position]
    sizes: dict[int, Size]
    groups: list[Group]


def with_room(node: Node) -> Size:
    """The node's size with room for what it shows after a run."""
    width, height = node.size
    if node.collapsed:
        return min(width, 260), height  # it is drawn as wide as its title
    if node.type in IMAGES:
        return 260, max(height, 300)
    if node.type in PROMPTS:
        return 260, 110
    least, more = ROOM.get(node.type, (SUBGRAPH if node.subgraph else NARROWEST, 0))
    return max(width if width < 400 else 260, least), height + more


def height_of(node: Node, sizes: Mapping[int, Size]) -> float:
    """What a node takes of a column's height, with its title and the gap below."""
    return HEAD + GAP + (0 if node.collapsed else sizes[node.id][1]) + (FOOT if node.subgraph else 0)


def columns(nodes: list[Node], sizes: Mapping[int, Size]) -> Iterator[list[Node]]:
    """The nodes of a group in columns no higher than ``HIGHEST``, as even as their order allows; images (and folded nodes) in pairs."""
    if all(node.type in IMAGES or node.collapsed for node in nodes):
        yield from filter(None, (nodes[0::2], nodes[1::2]))
        return
    total = sum(height_of(node, sizes) for node in nodes)
    wanted = total / -(-total // HIGHEST)
    column: list[Node] = []
    height = 0.0
    for node in nodes:
        own = height_of(node, sizes)
        if column and height + own / 2 > wanted:  # nearer to even without it
            yield column
            column, height = [], 0.0
        column.append(node)
        height += own
    yield column


def arranged(nodes: list[Node]) -> Layout:
    """Lay the nodes out, a group below the one before where both are within ``HIGHEST``; the first begins at (0, 0)."""
    layout = Layout({}, {node.id: with_room(node) for node in nodes}, [])
    left = top = right = 0.0
    for title in dict.fromkeys(node.group for node in nodes):
        inside = list(columns([node for node in nodes if node.group == title], layout.sizes))
        high = max(sum(height_of(node, layout.sizes) for node in column) for column in inside) + HEAD + 2 * MARGIN - GAP
        if top and top + high > HIGHEST:
            left, top, right = right + GAP, 0.0, 0.0
        x = left + MARGIN
        for column in inside:
            y = top + 2 * HEAD + MARGIN
            for node in column:
                layout.positions[node.id] = (x, y)
                y += height_of(node, layout.sizes)
            x += max(layout.sizes[node.id][0] for node in column) + GAP
        edge = x - GAP + MARGIN
        layout.groups.append(Group(title, (left, top, edge - left, high)))
        top, right = top + high + GAP, max(right, edge)
    return layout


def in_order_of_links(sizes: Mapping[int, Size], links: Iterable[tuple[int, int]]) -> tuple[dict[int, Position], float]:
    """Positions of the nodes of a subgraph, each right of those that it takes its inputs from, and the width of all."""
    depth = dict.fromkeys(sizes, 0)
    inside = [(origin, target) for origin, target in links if origin in sizes and target in sizes]
    for _ in sizes:  # no chain of links is longer
        for origin, target in inside:
            depth[target] = max(depth[target], depth[origin] + 1)
    positions: dict[int, Position] = {}
    x = 0.0
    for column in ([node for node in sizes if depth[node] == step] for step in sorted(set(depth.values()))):
        y = float(HEAD)
        for node in column:
            positions[node] = (x, y)
            y += HEAD + GAP + sizes[node][1]
        x += max(sizes[node][0] for node in column) + 2 * GAP
    return positions, x - 2 * GAP
