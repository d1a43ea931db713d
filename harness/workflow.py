"""Run an API-format workflow in a headless ComfyUI with the pack: ``python -m harness.workflow FILE...``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from . import comfyui
from .client import Client, Graph, RunFailed
from .problems import SetupProblem, exit_with
from .server import ROOT, Server, stop_on_signals

OUTPUT = ROOT / "output"


def load(path: Path) -> Graph:
    """Read a workflow. Raises SetupProblem for a file that is not one in API format."""
    try:
        graph: Graph = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupProblem(f"{path} cannot be read as a workflow: {error}") from None
    if not isinstance(graph, dict) or not all(isinstance(node, dict) and "class_type" in node for node in graph.values()):
        raise SetupProblem(f"{path} is not a workflow in API format (in ComfyUI's page: Workflow, Export (API)).")
    return graph


class ProgressLine:
    """Prints what a run is doing: on a terminal in one changing line, elsewhere one line per node."""

    def __init__(self, graph: Graph, stream: TextIO = sys.stdout) -> None:
        self.graph = graph
        self.stream = stream
        self.live = stream.isatty()
        self.started = time.monotonic()

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        """Take one of ComfyUI's messages (see ``Client.run``)."""
        node = str(data.get("display_node") or data.get("node") or "")
        if node not in self.graph:
            return
        if kind == "executing" and not self.live:
            print(f"  {self._seconds()}  {self._title(node)}", file=self.stream, flush=True)
        elif kind in ("executing", "progress") and self.live:
            steps = f" {data['value']}/{data['max']}" if kind == "progress" else ""
            print(f"\r\x1b[K  {self._seconds()}  {self._title(node)}{steps}", end="", file=self.stream, flush=True)

    def end(self) -> float:
        """Leave the changing line; return the seconds since the beginning."""
        if self.live:
            print("\r\x1b[K", end="", file=self.stream, flush=True)
        return time.monotonic() - self.started

    def _seconds(self) -> str:
        return f"{time.monotonic() - self.started:5.1f} s"

    def _title(self, node: str) -> str:
        entry = self.graph[node]
        return str(entry.get("_meta", {}).get("title") or entry["class_type"])


def run(client: Client, graph: Graph, *, timeout: float = 3600.0) -> tuple[dict[str, dict[str, Any]], float]:
    """Run a graph with its progress printed; return its outputs by node id, and the seconds it took."""
    progress = ProgressLine(graph)
    try:
        outputs = client.run(graph, timeout=timeout, on_event=progress)
    finally:
        seconds = progress.end()
    return outputs, seconds


def collect(client: Client, outputs: dict[str, dict[str, Any]], folder: Path, prefix: str) -> list[Path]:
    """Write every file and text among the outputs into ``folder``; return the paths in the order of the nodes."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for node in sorted(outputs, key=lambda name: (len(name), name)):
        for values in outputs[node].values():
            for index, value in enumerate(values if isinstance(values, (list, tuple)) else []):
                if isinstance(value, dict) and "filename" in value:
                    path = folder / f"{prefix}-{node}-{index}{Path(value['filename']).suffix}"
                    path.write_bytes(client.fetch(value))
                elif isinstance(value, str):
                    path = folder / f"{prefix}-{node}-{index}.txt"
                    path.write_text(value, encoding="utf-8")
                else:
                    continue
                written.append(path)
    return written


def main(arguments: list[str]) -> int:
    """Run the given workflows one after the other in one server, and name what they made."""
    parser = argparse.ArgumentParser(prog="run.py workflow", description="Run API-format workflows in a headless ComfyUI with this pack.")
    parser.add_argument("files", nargs="+", type=Path, help="workflows, such as those in workflows/api/")
    parser.add_argument("--gpu", action="store_true", help="use the GPU (default: the processor)")
    parser.add_argument("--models", type=Path, help="a folder laid out as ComfyUI's models folder")
    options = parser.parse_args(arguments)
    graphs = {path: load(path) for path in options.files}
    tree = comfyui.find()
    if tree is None:
        raise SetupProblem("no ComfyUI was found; start with `python run.py workflow`, which brings one.")
    stop_on_signals()
    more = ["--models-directory", str(options.models.resolve())] if options.models else []
    print("Starting ComfyUI ...", flush=True)
    status = 0
    with Server(tree, ROOT / ".cache" / "workflow", cpu=not options.gpu, arguments=more) as server:
        for path, graph in graphs.items():
            print(f"{path.name}:", flush=True)
            outputs, seconds = run(server, graph)
            print(f"  done in {seconds:.1f} s")
            for sentence in server.left_out:
                print(f"  not run, nor what needs it: {sentence}")
            status = 1 if server.left_out else status
            for written in collect(server, outputs, OUTPUT, path.stem):
                print(f"  {written}")
    return status


if __name__ == "__main__":
    exit_with(main, RunFailed, TimeoutError)
