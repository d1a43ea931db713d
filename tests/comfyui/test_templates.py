"""Each template, node by node, against what the server says of its nodes: also those for models that are not on this machine."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from sgool.harness.client import Graph
from sgool.harness.layout import HEAD, Node, arranged
from sgool.harness.server import ROOT, Server
from sgool.harness.template import differences, numbered
from sgool.harness.workflow import load

pytestmark = pytest.mark.server

TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".jpg", ".png")
NOTES = ("Note", "MarkdownNote")  # the page's own, of which the server knows nothing
WIDEST = 2500  # in a window of 1920 pixels the page then opens at 57 % or more, and below that it draws no text
MOST_OPEN = 12
NUMBERS = {"INT": int, "FLOAT": (int, float)}
INPUTS, OUTPUTS = -10, -20  # what links in a subgraph begin and end at that come from outside and go there
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"


@pytest.fixture(scope="module")
def known(server: Server) -> dict[str, Any]:
    """Every node's definition."""
    found: dict[str, Any] = server.get("/object_info")
    return found


def specifications(info: dict[str, Any], values: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Name -> ``[type, options]`` of all inputs, with those of the chosen options of dynamic combos, and the names of the required."""
    found: dict[str, Any] = {}
    required: set[str] = set()
    todo = [("", info["input"])]
    while todo:
        prefix, groups = todo.pop()
        for kind in ("required", "optional"):
            for short, spec in groups.get(kind, {}).items():
                name = prefix + short
                found[name] = spec
                required |= {name} if kind == "required" else set()
                if spec[0] == DYNAMIC:
                    todo += [(f"{name}.", option["inputs"]) for option in spec[1]["options"] if option["key"] == values.get(name)]
    return found, required


def wrong_value(value: Any, spec: Any) -> str:
    """What is wrong with a widget's value, or an empty text. A file may be missing here."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, list):  # how the older nodes write a combo
        kind, options = "COMBO", {"options": kind}
    if kind in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, NUMBERS[kind]):
            return f"{value!r} is no {kind}"
        return "" if options.get("min", value) <= value <= options.get("max", value) else f"{value} is out of range"
    if kind == "STRING":
        return "" if isinstance(value, str) else f"{value!r} is no text"
    if kind == "BOOLEAN":
        return "" if isinstance(value, bool) else f"{value!r} is neither true nor false"
    choices = options.get("options")
    if choices is None:
        return ""
    if kind == DYNAMIC:
        choices = [option["key"] for option in choices]
    return "" if value in choices or str(value).endswith(FILES) else f"{value!r} is not among {choices}"


def fits(made: str, wanted: Any) -> bool:
    """Whether an output's type may be linked to an input's."""
    return wanted == "*" or made == "*" or bool(set(made.split(",")) & set(str(wanted).split(",")))


def wrong(graph: Graph, known: dict[str, Any]) -> list[str]:
    """What the server would refuse of a graph in API format, but for files that are not here."""
    found = []
    for name, node in graph.items():
        info = known.get(node["class_type"])
        if info is None:
            found.append(f"{name}: there is no node {node['class_type']}")
            continue
        specs, required = specifications(info, node["inputs"])
        found += [f"{name}: {missing} is missing" for missing in sorted(required - set(node["inputs"]))]
        for key, value in node["inputs"].items():
            if key not in specs:
                found.append(f"{name}: there is no input {key}")
            elif not isinstance(value, list):
                found += [f"{name}.{key}: {problem}" for problem in [wrong_value(value, specs[key])] if problem]
            elif value[0] not in graph:
                found.append(f"{name}.{key} is linked to nothing")
            else:
                outputs = known.get(graph[value[0]]["class_type"], {"output": []})["output"]
                made = outputs[value[1]] if value[1] < len(outputs) else "nothing"
                found += [] if fits(made, specs[key][0]) else [f"{name}.{key} is {specs[key][0]}, not {made}"]
    return found


def subgraphs_of(page: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The subgraphs in the page's JSON by their ids, which are their nodes' types."""
    return {each["id"]: each for each in page.get("definitions", {}).get("subgraphs", [])}


def promoted(host: dict[str, Any]) -> dict[str, Any]:
    """The widgets of a subgraph's node and their values."""
    names = [item["name"] for item in host["inputs"] if "widget" in item]
    return dict(zip(names, host.get("widgets_values") or [], strict=True))


def origins_of(page: dict[str, Any]) -> dict[int, Any]:
    """What each link brings, within subgraphs as well: a node and its output, or the value of a promoted widget."""
    origins: dict[int, Any] = {link: [str(node), slot] for link, node, slot, *_ in page["links"]}
    borders: dict[tuple[str, int], Any] = {}  # a subgraph's node and its output -> what it is inside
    for host in (node for node in page["nodes"] if node["type"] in subgraphs_of(page)):
        for link in subgraphs_of(page)[host["type"]]["links"]:
            assert link["id"] not in origins or link["target_id"] == OUTPUTS
            origin = [str(link["origin_id"]), link["origin_slot"]]
            if link["origin_id"] == INPUTS:
                item = host["inputs"][link["origin_slot"]]
                origin = promoted(host)[item["name"]] if item["link"] is None else origins[item["link"]]
            if link["target_id"] == OUTPUTS:
                borders[str(host["id"]), link["target_slot"]] = origin
            origins[link["id"]] = origin
    return {link: borders.get(tuple(origin), origin) if isinstance(origin, list) else origin for link, origin in origins.items()}


def as_graph(page: dict[str, Any], known: dict[str, Any]) -> Graph:
    """The page's JSON in API format, as far as the JSON alone says it."""
    origins, inside = origins_of(page), subgraphs_of(page)
    graph = {}
    for node in page["nodes"] + [node for subgraph in inside.values() for node in subgraph["nodes"]]:
        if node["type"] in NOTES or node["type"] in inside:
            continue
        inputs = {item["name"]: origins[item["link"]] for item in node["inputs"] if item["link"] is not None}
        values = list(node.get("widgets_values") or [])
        specs = specifications(known[node["type"]], {})[0]
        for name in (item["name"] for item in node["inputs"] if "widget" in item):
            shown = specs.get(name, [""])[0] == "IMAGECOMPARE"  # what a node shows, which the page does not keep
            inputs.setdefault(name, {"__value__": ["", ""]} if shown else values.pop(0))
            spec = specs.get(name, [])
            if len(spec) > 1 and spec[1].get("control_after_generate"):
                values.pop(0)
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph


def box(node: dict[str, Any]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom."""
    (x, y), (width, height) = node["pos"], node["size"]
    height = 0 if node.get("flags", {}).get("collapsed") else height
    return x, y - HEAD, x + width, y + height


def overlapping(page: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of nodes of which one lies over the other."""
    pairs = itertools.combinations(page["nodes"], 2)
    boxes = ((first["type"], second["type"], box(first), box(second)) for first, second in pairs)
    return [(a, b) for a, b, p, q in boxes if p[0] < q[2] and q[0] < p[2] and p[1] < q[3] and q[1] < p[3]]


def test_templates_are_named_as_titles_that_the_page_takes_in_a_link() -> None:
    """The page shows a pack's file names as titles. In ``?template=`` it takes these letters only, so no spaces."""
    assert [template.stem for template in TEMPLATES if not re.fullmatch(r"SGOOL(-[A-Za-z0-9.]+)+", template.stem)] == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_what_the_nodes_take(template: Path, known: dict[str, Any]) -> None:
    scripted = numbered(load(template.parent / "api" / template.name))
    assert wrong(scripted, known) == []
    page = json.loads(template.read_text(encoding="utf-8"))
    opened = as_graph(page, known)
    assert wrong(opened, known) == []
    assert {name: node["class_type"] for name, node in opened.items()} == {name: node["class_type"] for name, node in scripted.items()}
    assert differences(scripted, opened) == {}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_node_of_a_template_lies_over_another(template: Path) -> None:
    """With the room that ``harness.layout`` keeps for what nodes show after a run."""
    page = json.loads(template.read_text(encoding="utf-8"))
    assert overlapping(page) == []
    assert len(page["groups"]) > 1
    assert [overlapping(subgraph) for subgraph in subgraphs_of(page).values() if overlapping(subgraph)] == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_opens_at_a_zoom_at_which_the_page_draws_text(template: Path) -> None:
    boxes = [box(node) for node in json.loads(template.read_text(encoding="utf-8"))["nodes"]]
    assert max(right for *_, right, _ in boxes) - min(left for left, *_ in boxes) <= WIDEST


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_has_no_more_than_twelve_nodes_open(template: Path) -> None:
    """What only carries links is folded or in a subgraph; its note is text and does not count."""
    made = json.loads(template.read_text(encoding="utf-8"))["nodes"]
    assert sum(not node["flags"].get("collapsed") for node in made if node["type"] not in NOTES) <= MOST_OPEN


def test_groups_stand_below_each_other_where_they_fit_and_their_nodes_apart() -> None:
    nodes = [
        Node(1, "A", (200, 300), "one"),
        Node(2, "A", (200, 300), "two"),
        Node(3, "A", (200, 700), "three"),
        Node(4, "A", (200, 700), "three"),
    ]
    layout = arranged(nodes)
    one, two, three = layout.groups
    assert one.box[0] == two.box[0] < three.box[0]  # the third does not fit below
    assert two.box[1] >= one.box[1] + one.box[3]
    assert layout.positions[3][0] < layout.positions[4][0]  # and takes two columns
    for node, group in zip(nodes, (one, two, three, three), strict=True):
        (x, y), (width, height), (left, top, wide, high) = layout.positions[node.id], layout.sizes[node.id], group.box
        assert left < x < x + width < left + wide
        assert top < y - HEAD < y + height < top + high


def test_what_is_wrong_with_a_template_is_named(known: dict[str, Any]) -> None:
    good = load(ROOT / "workflows" / "api" / "sgool_demo.json")
    sampler = next(name for name, node in good.items() if node["class_type"] == "SGOOL_KSampler")
    for changed in (
        {"steps": 0},
        {"cfg": "3"},
        {"sampler_name": "no such sampler"},
        {"preset": "no such preset"},
        {"preset.iterations": -1},
        {"no_such_input": 1},
        {"vae": good[sampler]["inputs"]["model"]},
        {"latent_image": ["no such node", 0]},
    ):
        node = {**good[sampler], "inputs": {**good[sampler]["inputs"], **changed}}
        assert wrong({**good, sampler: node}, known), changed
    assert wrong({**good, sampler: {**good[sampler], "inputs": {}}}, known)
    assert wrong({**good, sampler: {"class_type": "NoSuchNode", "inputs": {}}}, known)
    one = {"type": "A", "pos": [0, 0], "size": [10, 10]}
    assert overlapping({"nodes": [one, {**one, "type": "B", "pos": [5, 35]}]}) == [("A", "B")]
    assert overlapping({"nodes": [one, {**one, "type": "B", "pos": [5, 41]}]}) == []
