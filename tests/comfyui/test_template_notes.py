"""What the templates show is true: the shipped graphs, run, and the notes beside them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sgool.harness.client import Graph
from sgool.harness.server import ROOT, Server
from sgool.harness.workflow import load

WORKFLOWS = ROOT / "workflows"
NOTES = sorted((WORKFLOWS / "api").glob("*.md"))
SCORED = [path.stem for path in NOTES if "score_optimized" in load(WORKFLOWS / "api" / f"{path.stem}.json")]


def for_one_image(graph: Graph) -> Graph:
    graph["latent"]["inputs"]["batch_size"] = 1
    return graph


def score(outputs: dict[str, Any], node: str) -> float:
    """The loss in the last line of Objective Score's table."""
    return float(outputs[node]["text"][0].splitlines()[-1].split()[1])


@pytest.mark.parametrize("note", NOTES, ids=lambda path: path.stem)
def test_a_note_stands_in_its_template(note: Any) -> None:
    made = json.loads((WORKFLOWS / f"{note.stem}.json").read_text(encoding="utf-8"))
    shown = [node["widgets_values"][0].strip() for node in made["nodes"] if node["type"] == "MarkdownNote"]
    assert shown == [note.read_text(encoding="utf-8").strip()]


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("name", SCORED)
def test_the_second_score_is_lower_than_the_first(server: Server, name: str) -> None:
    outputs = server.run(for_one_image(load(WORKFLOWS / "api" / f"{name}.json")), timeout=600)
    assert score(outputs, "score_optimized") < score(outputs, "score_plain")
