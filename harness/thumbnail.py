"""Make the thumbnail of a template, ``workflows/NAME.jpg``: ``python -m harness.thumbnail NAME``.

It runs ``workflows/api/NAME.json`` and lays out what nodes with ``_meta.thumbnail``, the words above their images, have shown. The page's
template browser fits a thumbnail into a square and cuts nothing off.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from . import comfyui
from .client import RunFailed
from .demo_report import INK
from .problems import SetupProblem, exit_with
from .server import ROOT, Server, stop_on_signals
from .workflow import load, run

WIDTH, GAP, LABEL, MOST = 808, 8, 20, 4
Row = tuple[str, Sequence[Image.Image]]


def sheet(rows: Sequence[Row]) -> Image.Image:
    """Rows of up to four images under their words; rows of one image each stand two beside each other. RGB, ``WIDTH`` wide.

    Of an image more than twice as high as wide, such as a run's plot, only the upper end is shown."""
    across = min(MOST, max(len(images) for _, images in rows))
    columns = 2 if across == 1 and len(rows) > 1 else 1
    tile = (WIDTH - GAP) // (across * columns) - GAP
    wide, high = across * (tile + GAP), LABEL + tile + GAP
    drawn = Image.new("RGB", (WIDTH, -(-len(rows) // columns) * high + GAP), "white")
    pen = ImageDraw.Draw(drawn)
    for number, (words, images) in enumerate(rows):
        left, top = GAP + number % columns * wide, GAP + number // columns * high
        pen.text((left + 2, top - 2), words, INK, ImageFont.load_default(15))
        for place, each in enumerate(images[:MOST]):
            image = each.crop((0, 0, each.width, each.width)) if each.height > 2 * each.width else each
            fitted = ImageOps.pad(image.convert("RGB"), (tile, tile), Image.Resampling.BICUBIC, color="white")
            drawn.paste(fitted, (left + place * (tile + GAP), top + LABEL))
    return drawn


def main(arguments: list[str]) -> int:
    """Make the thumbnails of the named templates."""
    parser = argparse.ArgumentParser(prog="run.py thumbnail", description="Run templates and make their thumbnails.")
    parser.add_argument("names", nargs="+", help="templates, such as SGOOL-KSampler")
    names = parser.parse_args(arguments).names
    tree = comfyui.find()
    if tree is None:
        raise SetupProblem("no ComfyUI was found; `python run.py setup` brings one.")
    stop_on_signals()
    with tempfile.TemporaryDirectory() as base, Server(tree, Path(base)) as server:
        for name in names:
            graph = load(ROOT / "workflows" / "api" / f"{name}.json")
            words = {node: entry["_meta"]["thumbnail"] for node, entry in graph.items() if "thumbnail" in entry.get("_meta", {})}
            if not words:
                raise SetupProblem(f"no node of {name} has a _meta.thumbnail, the words above its images.")
            outputs, seconds = run(server, graph)
            target = ROOT / "workflows" / f"{name}.jpg"
            sheet([(text, [server.view(file) for file in outputs[node]["images"]]) for node, text in words.items()]).save(
                target, quality=90
            )
            print(f"{target}, after {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    exit_with(main, RunFailed, TimeoutError)
