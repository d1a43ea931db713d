"""The paper-style table on models of ComfyUI servers: plain sampling, best of N, DOODL, SGOOL and this pack's default.

    python run.py bench real_models --server http://127.0.0.1:8188 --checkpoint NAME --prompts prompts.txt --folder runs/name \\
        --optimized-reward clip-vit-large-patch14 --judging-rewards PickScore_v1 siglip-so400m-patch14-384

Stop it with Ctrl-C; the same command goes on from there. Without --server, --workers or a cluster it only writes table and sheets of
what the folder holds. docs/real-models.md says what to run, what it needs and how long it takes.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path

from PIL import Image
from sgool.harness.locks import only_one

from .common.jobs import Record, Store, write
from .common.sheets import Cell, write_sheets
from .common.spread import spread
from .real.comparison import CheckpointComparison, read_prompts
from .real.own_server import OwnServer
from .real.table import shown, write_table


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of how to run, and the fields of ``CheckpointComparison``."""
    add = parser.add_argument
    way = parser.add_mutually_exclusive_group().add_argument
    way("--server", action="append", default=[], metavar="URL", help="a running ComfyUI with this pack; may be given many times")
    way("--workers", type=int, default=0, metavar="N", help="start N ComfyUI servers here, each on a GPU of its own")
    add("--models", type=Path, metavar="DIR", help="for servers that are started: a folder like ComfyUI's models")
    way("--scheduler", default="", metavar="tcp://HOST:PORT", help="use the workers of this dask scheduler (run.py bench worker)")
    add("--checkpoint", required=True, help="as its loader names it, or 'demo' for the demo model")
    add("--prompts", required=True, type=Path, metavar="FILE", help="one prompt a line; # begins a comment")
    add("--folder", required=True, type=Path, help="for results, images, table")
    add("--most-prompts", type=int, metavar="N", help="only the first N prompts of the file")
    for each in fields(CheckpointComparison):
        if each.metadata:
            add(f"--{each.name.replace('_', '-')}", default=each.default, **each.metadata)


def main(options: argparse.Namespace) -> None:
    """Run what is missing in the folder, then write table and sheets."""
    # run.py goes to its own folder; a relative one is meant from where the user is.
    here = Path(os.environ.get("SGOOL_CALLED_FROM", ".")).absolute()
    folder, options.models = here / options.folder, options.models and here / options.models
    options.prompts = read_prompts(options.prompts, options.most_prompts)
    comparison = CheckpointComparison(
        **{each.name: getattr(options, each.name) for each in fields(CheckpointComparison) if each.name != "default"}
    )
    with only_one(folder / ".lock", lambda: print(f"Another run is at work in {folder}; waiting for it to end.", flush=True)):
        store = Store(folder, comparison.settings())
        owner = OwnServer(comparison, options.server, options.models)
        try:
            spread(store, comparison.jobs(), owner, len(options.server) or options.workers, options.scheduler)
        finally:
            if store.records:
                text = write_table(comparison, store)
                write(folder / "table.md", text.encode())
                write_sheets(folder / "sheets", sheet_rows(comparison, store))
                print(f"\n{text}\nTable and sheets are in {folder}.", flush=True)


def sheet_rows(comparison: CheckpointComparison, store: Store) -> list[tuple[str, list[Cell]]]:
    """A row for each prompt and seed that has an image: every method's, where people would look below it, and its scores."""

    def cell(method: str, record: Record | None) -> Cell:
        if record is None:
            return Cell(f"{comparison.title(method)}: none", ())
        images = [Image.open(path) for name in ("image", "saliency") if (path := store.folder / record[name]).exists()]
        scores = [f"{score:.2f}  {reward}" for reward, score in shown(record).items()]
        return Cell(comparison.title(method), images, scores)

    rows: dict[tuple[int, int], dict[str, Record]] = {}
    for record in store.of(comparison.jobs()):
        rows.setdefault((record["place"], record["seed_number"]), {})[record["method"]] = record
    cells = {key: [cell(method, found.get(method)) for method in comparison.methods] for key, found in sorted(rows.items())}
    return [(f"{place + 1}. {comparison.prompts[place]}   (seed {number + 1})", row) for (place, number), row in cells.items()]
