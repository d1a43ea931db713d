"""The main job on the demo model, in a real ComfyUI: ``python run.py demo``.

Each prompt is sampled plainly and by SGOOL KSampler, through one shipped API workflow, and both are shown to the reward that was
optimized and to a judge that was not. What comes out is an image and a table in ``output/``.
"""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any

from PIL import Image

from . import comfyui
from .client import Client, Graph, RunFailed
from .demo_report import Shown, draw_image, write_table
from .problems import SetupProblem, exit_with
from .server import ROOT, Server, stop_on_signals
from .workflow import OUTPUT, ProgressLine, load

WORKFLOW = ROOT / "workflows" / "api" / "sgool_demo.json"
PROMPTS_SHOWN = 5  # of two or three objects, the first of sgool.demo.scenes.held_out_prompts: not chosen for how they turn out


class Stopwatch:
    """Passes ComfyUI's messages on and keeps how long each node took."""

    def __init__(self, progress: ProgressLine) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self._node, self._since = "", time.monotonic()

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "executing":
            now = time.monotonic()
            if self._node:
                self.seconds[self._node] = self.seconds.get(self._node, 0.0) + now - self._since
            self._node, self._since = str(data.get("node") or ""), now
        self.progress(kind, data)


def with_prompt(graph: Graph, prompt: str) -> Graph:
    """The graph with another prompt, which is the value of one node that all others are linked to."""
    changed = copy.deepcopy(graph)
    changed["prompt"]["inputs"]["value"] = prompt
    return changed


def run_prompt(client: Client, graph: Graph, prompt: str) -> Shown:
    """Run the workflow for one prompt."""
    progress = ProgressLine(graph)
    watch = Stopwatch(progress)
    try:
        outputs = client.run(with_prompt(graph, prompt), timeout=900, on_event=watch)
    finally:
        progress.end()

    def images(node: str) -> list[Image.Image]:
        return [client.view(file).convert("RGB") for file in outputs[node]["images"]]

    def text(node: str) -> str:
        return str(outputs[node]["text"][0])

    def mean_score(node: str) -> float:
        return float(outputs[node]["text"][0])

    return Shown(
        prompt,
        (images("save_plain"), images("save_optimized")),
        (images("save_plain_saliency"), images("save_optimized_saliency")),
        (text("judge_plain").splitlines(), text("judge_optimized").splitlines()),
        (mean_score("score_plain_mean"), mean_score("score_optimized_mean")),
        images("save_plot")[0],
        text("history"),
        watch.seconds,
    )


def prompts(count: int) -> list[str]:
    """The first ``count`` held-out captions that name two or three objects."""
    from .pack import load_pack

    load_pack()
    from sgool.demo.captions import parse  # type: ignore[import-not-found]
    from sgool.demo.scenes import held_out_prompts  # type: ignore[import-not-found]

    return [text for text in held_out_prompts(4 * count + 8) if parse(text).count > 1][:count]


def main(arguments: list[str]) -> int:
    """Run the demo; name the image and print the table."""
    parser = argparse.ArgumentParser(
        prog="run.py demo", description="Plain sampling beside SGOOL on the demo model, in a headless ComfyUI."
    )
    parser.add_argument("prompts", nargs="*", help="prompts of the demo model's world (default: some that it was never trained on)")
    parser.add_argument("--gpu", action="store_true", help="use the GPU (default: the processor)")
    options = parser.parse_args(arguments)
    graph = load(WORKFLOW)
    tree = comfyui.find()
    if tree is None:
        raise SetupProblem("no ComfyUI was found; start with `python run.py demo`, which brings one.")
    stop_on_signals()
    started = time.monotonic()
    print("Starting ComfyUI ...", flush=True)
    shown: list[Shown] = []
    with Server(tree, ROOT / ".cache" / "demo", cpu=not options.gpu) as server:
        for prompt in options.prompts or prompts(PROMPTS_SHOWN):
            print(f"{prompt}:", flush=True)
            shown.append(run_prompt(server, graph, prompt))
    OUTPUT.mkdir(exist_ok=True)
    image = OUTPUT / "demo.png"
    draw_image(shown).save(image)
    table = write_table(shown, time.monotonic() - started)
    (OUTPUT / "demo.txt").write_text(table, encoding="utf-8")
    print(f"\n{table}\n{image}\n{OUTPUT / 'demo.txt'}")
    return 0


if __name__ == "__main__":
    exit_with(main, RunFailed, TimeoutError)
