"""Make the thumbnail of a template, ``workflows/NAME.jpg``: ``python -m harness.thumbnail NAME``.

It runs ``workflows/api/NAME.json`` and lays out what nodes with ``_meta.thumbnail``, the words above their images, have shown. A template
without such nodes, which needs models that may not be here, is shown as its graph instead, by the page, with the nodes folded (needs
Chromium), below its note's title, its model and its settings. The page's template browser fits a thumbnail into a square and cuts
nothing off.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from . import comfyui
from .client import Graph, RunFailed
from .demo_report import INK
from .page import Page, start_chromium, why_no_browser
from .problems import SetupProblem, exit_with
from .server import ROOT, Server, stop_on_signals
from .subgraphs import convert, firsts
from .template import LOAD, LOADED, numbered
from .workflow import load, run

WIDTH, GAP, LABEL, MOST = 808, 8, 20, 4
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.NodeBadge.NodeSourceBadgeMode": "None"}
BACKGROUND, LIGHT, PALE = (32, 32, 32), (235, 235, 235), (170, 170, 170)  # of the page's canvas, and of words on it
HEAD = 190  # above a drawn graph
MODELS = ("ckpt_name", "unet_name", "lora_name")
SIDE, TOP = 300, 150  # where the drawing stands in the page, clear of its bars
FOLD = """
const [left, right, side, top] = arguments;
const canvas = window.app.canvas;
const column = (which) => (which ? right : left).map((id) => window.app.graph.getNodeById(id));
const width = Math.max(...column(false).map((node) => node._collapsed_width ?? 170));
for (const which of [false, true]) {
    const all = column(which), step = 340 / all.length;
    all.forEach((node, row) => {
        if (!node.flags.collapsed) node.collapse(true);
        node.has_errors = false;  // a model's file that is not here
        node.pos = [which ? width + 40 : 0, step * (row + 0.5)];
    });
}
const across = width + 40 + Math.max(...column(true).map((node) => node._collapsed_width ?? 170));
const scale = 800 / across;
canvas.deselectAll();
canvas.ds.scale = scale;
const box = canvas.canvas.getBoundingClientRect();
canvas.ds.offset = [(side - box.left) / scale, (top - box.top) / scale];
canvas.draw(true, true);
return [side - 30, top - 30, 860, 340 * scale + 30];
"""
Row = tuple[str, Sequence[Image.Image]]


def sheet(rows: Sequence[Row]) -> Image.Image:
    """Rows of up to four images under their words; rows of one image each stand two beside each other. RGB, ``WIDTH`` wide.

    Of an image more than twice as high as wide, such as a run's plot, only the upper end is shown."""
    shown = [(words, [_upper_end(each) for each in images[:MOST]]) for words, images in rows]
    across = max(len(images) for _, images in shown)
    columns = 2 if across == 1 and len(rows) > 1 else 1
    wide = (WIDTH - GAP) // (across * columns) - GAP
    high = round(wide * min(1.0, max(each.height / each.width for _, images in shown for each in images)))
    drawn = Image.new("RGB", (WIDTH, -(-len(rows) // columns) * (LABEL + high + GAP) + GAP), "white")
    pen = ImageDraw.Draw(drawn)
    for number, (words, images) in enumerate(shown):
        left, top = GAP + number % columns * across * (wide + GAP), GAP + number // columns * (LABEL + high + GAP)
        pen.text((left + 2, top - 2), words, INK, ImageFont.load_default(15))
        for place, image in enumerate(images):
            fitted = ImageOps.pad(image.convert("RGB"), (wide, high), Image.Resampling.BICUBIC, color="white")
            drawn.paste(fitted, (left + place * (wide + GAP), top + LABEL))
    return drawn


def _upper_end(image: Image.Image) -> Image.Image:
    return image.crop((0, 0, image.width, image.width)) if image.height > 2 * image.width else image


def settings_of(graph: Graph) -> list[str]:
    """What a template is for and how it samples: its models' files, then its size, steps, guidance and preset."""
    said: dict[str, Any] = {}
    for node in graph.values():
        said |= {name: value for name, value in node["inputs"].items() if not isinstance(value, list)}
    models = [said[name].removesuffix(".safetensors") for name in MODELS if name in said]
    steps = "1 step" if said["steps"] == 1 else f"{said['steps']} steps"
    return [
        *models,
        f"{said['width']} x {said['height']}, {steps}, CFG {said['cfg']:g}",
        f"{said['preset']}, {said['preset.iterations']} iterations",
    ]


def with_words(drawn: Image.Image, title: str, lines: Sequence[str]) -> Image.Image:
    """A square of ``WIDTH``: the words, and ``drawn`` below."""
    whole = Image.new("RGB", (WIDTH, WIDTH), BACKGROUND)
    whole.paste(ImageOps.pad(drawn, (WIDTH, WIDTH - HEAD), Image.Resampling.LANCZOS, color=BACKGROUND), (0, HEAD))
    pen = ImageDraw.Draw(whole)
    large = next(size for size in range(46, 20, -1) if pen.textlength(title, ImageFont.load_default(size)) < WIDTH - 6 * GAP)
    pen.text((3 * GAP, 2 * GAP), title, LIGHT, ImageFont.load_default(large))
    for number, line in enumerate(lines):
        pen.text((3 * GAP, 72 + 30 * number), line, PALE, ImageFont.load_default(24))
    return whole


def graph_image(page: Page, graph: Graph, title: str) -> Image.Image:
    """Title, models and settings, and the graph as the page draws it, with every node folded: those of the first group at the left, the
    others at the right."""
    page.run(LOAD, json.dumps(numbered(graph)))
    page.wait_until(LOADED, len(graph))
    groups = [node["_meta"]["group"] for node in graph.values()]
    first = firsts(page, convert(page, numbered(graph)))
    left = [node for node, place in first.items() if groups[place - 1] == groups[0]]
    right = [node for node in first if node not in left]
    page.run(FOLD, left, right, SIDE, TOP)
    time.sleep(1.5)
    drawn = page.screenshot(page.run(FOLD, left, right, SIDE, TOP))  # folded nodes know their width once drawn
    return with_words(drawn, title, settings_of(graph))


def title_of(name: str) -> str:
    """Of a template's note: its first heading; else the template's name."""
    note = ROOT / "workflows" / "api" / f"{name}.md"
    first = note.read_text(encoding="utf-8").partition("\n")[0] if note.exists() else ""
    return first.removeprefix("# ").removeprefix("SGOOL on ") if first.startswith("# ") else name


def words_of(graph: Graph) -> dict[str, str]:
    """The words above the images of the nodes that have some."""
    return {node: entry["_meta"]["thumbnail"] for node, entry in graph.items() if "thumbnail" in entry.get("_meta", {})}


def outcome_image(server: Server, graph: Graph) -> Image.Image:
    """What the nodes that have words have shown after a run."""
    outputs, _ = run(server, graph)
    return sheet([(text, [server.view(file) for file in outputs[node]["images"]]) for node, text in words_of(graph).items()])


def main(arguments: list[str]) -> int:
    """Make the thumbnails of the named templates."""
    parser = argparse.ArgumentParser(prog="run.py thumbnail", description="Make the thumbnails of templates, by running or drawing them.")
    parser.add_argument("names", nargs="+", help="templates, such as SGOOL-KSampler")
    graphs = {name: load(ROOT / "workflows" / "api" / f"{name}.json") for name in parser.parse_args(arguments).names}
    tree = comfyui.find()
    if tree is None:
        raise SetupProblem("no ComfyUI was found; `python run.py setup` brings one.")
    stop_on_signals()
    with tempfile.TemporaryDirectory() as base, Server(tree, Path(base)) as server, ExitStack() as ending:
        drawn = [name for name, graph in graphs.items() if not words_of(graph)]
        page = empty_page(server, ending) if drawn else None
        for name, graph in graphs.items():
            target = ROOT / "workflows" / f"{name}.jpg"
            image = graph_image(page, graph, title_of(name)) if page and name in drawn else outcome_image(server, graph)
            image.save(target, quality=90)
            print(target)
    return 0


def empty_page(server: Server, ending: ExitStack) -> Page:
    """The server's page, open, in a Chromium that ends with ``ending``."""
    if why := why_no_browser():
        raise SetupProblem(why)
    server.post("/settings", SETTINGS)
    driver = start_chromium()
    ending.callback(driver.quit)
    driver.set_window_size(1600, 1500)
    page = Page(driver, server.url)
    page.open()
    page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which would come over another
    return page


if __name__ == "__main__":
    exit_with(main, RunFailed, TimeoutError)
