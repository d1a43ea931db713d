"""Running a workflow without the page: what is printed, what is written."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from sgool.harness.problems import SetupProblem
from sgool.harness.workflow import ProgressLine, collect, load

GRAPH: dict[str, dict[str, Any]] = {
    "1": {"class_type": "EmptyImage", "inputs": {}, "_meta": {"title": "An image"}},
    "2": {"class_type": "SaveImage"},
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Files:
    """Stands for a server: every file holds its own name."""

    def fetch(self, file: dict[str, Any]) -> bytes:
        return str(file["filename"]).encode()


def test_progress_is_one_line_per_node_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    progress = ProgressLine(GRAPH, stream)
    progress("executing", {"node": "1"})
    progress("progress", {"node": "1", "value": 1, "max": 4})
    progress("executing", {"node": "2"})
    progress("executing", {"node": None})
    assert progress.end() >= 0
    assert [line.split("s  ")[1] for line in stream.getvalue().splitlines()] == ["An image", "SaveImage"]


def test_progress_counts_on_a_terminal() -> None:
    stream = Terminal()
    progress = ProgressLine(GRAPH, stream)
    progress("progress", {"node": "1", "value": 1, "max": 4})
    progress.end()
    assert "An image 1/4" in stream.getvalue()
    assert "\n" not in stream.getvalue()


def test_files_and_texts_are_collected_in_order(tmp_path: Path) -> None:
    outputs = {
        "10": {"images": [{"filename": "late.png"}]},
        "2": {"images": [{"filename": "a.png"}, {"filename": "b.png"}], "text": ("words",), "animated": (False,)},
    }
    written = collect(Files(), outputs, tmp_path / "new", "demo")  # type: ignore[arg-type]
    assert [path.name for path in written] == ["demo-2-0.png", "demo-2-1.png", "demo-2-0.txt", "demo-10-0.png"]
    assert written[1].read_text() == "b.png"
    assert written[2].read_text() == "words"


@pytest.mark.parametrize("content", ["no json", "[]", json.dumps({"nodes": [], "links": []})])
def test_what_is_no_api_workflow_is_a_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(SetupProblem, match=r"x\.json"):
        load(path)


def test_the_shipped_workflows_can_be_read() -> None:
    from sgool.harness.pack import ROOT

    shipped = list((ROOT / "workflows" / "api").glob("*.json"))
    assert shipped
    for path in shipped:
        assert load(path)
