"""The paper-style table on models of ComfyUI servers: plain sampling, best of N, DOODL, SGOOL and this pack's default.

    python run.py bench real_models --server http://127.0.0.1:8188 --checkpoint NAME --prompts prompts.txt --folder runs/name \\
        --optimized-reward clip-vit-large-patch14 --judging-rewards PickScore_v1 siglip-so400m-patch14-384

Stop it with Ctrl-C; the same command goes on from there. Without --server, --workers or a cluster it only writes table and sheets of
what the folder holds. docs/real-models.md says what to run, what it needs and how long it takes.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from PIL import Image
from sgool.harness.locks import only_one
from sgool.harness.problems import SetupProblem, exit_with
from sgool.harness.server import stop_on_signals

from .common.jobs import Job, Record, Store, write
from .common.sheets import Cell, write_sheets
from .common.spread import spread
from .real.comparison import DEMO, METHODS, Comparison, read_prompts
from .real.server import OwnServer
from .real.table import by_key, right, score, write_table


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="run.py bench real_models", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    add = made.add_argument
    add("--server", action="append", default=[], metavar="URL", help="a running ComfyUI with this pack; may be given many times")
    add("--workers", type=int, default=0, metavar="N", help="start N ComfyUI servers here, each on a GPU of its own")
    add("--models", type=Path, metavar="DIR", help="for servers that are started: a folder like ComfyUI's models")
    add("--checkpoint", required=True, help="as its loader names it, or 'demo' for the demo model")
    add("--prompts", required=True, type=Path, metavar="FILE", help="one prompt a line; # begins a comment")
    add("--folder", required=True, type=Path, help="for results, images, table")
    add("--most-prompts", type=int, metavar="N", help="only the first N prompts of the file")
    add("--seeds", type=int, default=1, metavar="N", help="seeds for each prompt (default: 1)")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="default: all")
    add("--optimized-reward", default="", metavar="NAME", help="folder in models/rewards of the servers, or hub:NAME")
    add("--judging-rewards", nargs="*", default=[], metavar="NAME", help="others that judge, the same way")
    add("--saliency-model", default="", metavar="NAME", help="as Load Saliency Model names it (default: the pack's own)")
    add("--iterations", type=int, default=-1, help="of all methods that optimize (default: each preset's own number)")
    add("--best-of", type=int, default=0, metavar="N", help="default: as many as cost what the pack's default preset costs")
    add("--negative", default="", help="negative prompt")
    for name, kind, default in (("steps", int, 20), ("cfg", float, 7.5), ("sampler", str, "euler")):
        add(f"--{name}", type=kind, default=default, help=f"as in KSampler (default: {default})")
    add(
        "--scheduler",
        action="append",
        default=[],
        metavar="NAME | tcp://HOST:PORT",
        help="a name is KSampler's (default: normal); an address is a dask scheduler's, whose workers are used (run.py bench worker)",
    )
    for name in ("width", "height"):
        add(f"--{name}", type=int, default=0, help="default: 512, and 64 for the demo model; SDXL wants 1024")
    add("--patience", type=float, default=60, metavar="MINUTES", help="wait so long when no server is there (default: 60)")
    add("--timeout", type=float, default=180, metavar="MINUTES", help="most that one image may take (default: 180)")
    add("--retry-failed", action="store_true", help="try again what failed in an earlier run")
    return made


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The options, ``cluster`` among them: the address given as ``--scheduler``, which is also the name of a widget of KSampler."""
    options = parser().parse_args(arguments)
    options.cluster = next((each for each in options.scheduler if "://" in each), "")
    options.scheduler = next((each for each in options.scheduler if "://" not in each), "normal")
    return options


def comparison_from(options: argparse.Namespace) -> Comparison:
    """What a command line asks for. Raises SetupProblem for what cannot be run."""
    demo = options.checkpoint == DEMO
    if not demo and not options.optimized_reward:
        raise SetupProblem("--optimized-reward is missing: the folder in models/rewards that DOODL, SGOOL and the others optimize for.")
    if demo and options.optimized_reward:
        raise SetupProblem("the demo model is optimized for its own reward; leave --optimized-reward out.")
    if options.seeds < 1 or (options.most_prompts is not None and options.most_prompts < 1):
        raise SetupProblem("--seeds and --most-prompts have to be at least 1.")
    if sum(map(bool, (options.server, options.workers, options.cluster))) > 1:
        raise SetupProblem("--server, --workers and --scheduler tcp://... are three ways to the same end; give one of them.")
    size = 64 if demo else 512
    same = ("checkpoint", "best_of", "seeds", "negative", "steps", "cfg", "sampler", "scheduler", "iterations", "optimized_reward")
    return Comparison(
        prompts=read_prompts(options.prompts, options.most_prompts),
        methods=tuple(method for method in METHODS if method in options.methods),
        width=options.width or size,
        height=options.height or size,
        judging_rewards=tuple(dict.fromkeys(options.judging_rewards)),
        saliency_model=options.saliency_model,
        **{name: getattr(options, name) for name in same},
    )


def say(line: str) -> None:
    """Tell the user at once."""
    print(line, flush=True)


def main(arguments: list[str]) -> int:
    """Read the command line and run it."""
    options = parsed(arguments)
    # run.py goes to its own folder; a relative one is meant from where the user is.
    here = Path(os.environ.get("SGOOL_CALLED_FROM", ".")).absolute()
    folder = here / options.folder
    options.models = options.models and here / options.models
    comparison = comparison_from(options)
    with only_one(folder / ".lock", lambda: say(f"Another run is at work in {folder}; waiting for it to end.")):
        store = Store(folder, comparison.settings())
        try:
            run(comparison, store, options)
        finally:
            if store.records:
                report(comparison, store)
    return 0


def run(comparison: Comparison, store: Store, options: argparse.Namespace) -> None:
    """Run what is missing in a folder."""
    every = comparison.jobs()
    missing = store.missing(every, retry_failed=options.retry_failed)
    there = len(every) - len(missing)
    say(f"{len(missing)} images to make" + (f", {there} are there already." if there else "."))
    if not missing:
        return
    say(comparison.estimate())
    urls = list(dict.fromkeys(options.server))
    if not (urls or options.workers or options.cluster):
        say("No --server was given: this is the table of what is there.")
        return
    started, done = time.monotonic(), 0

    def keep(job: Job, record: Record) -> None:
        nonlocal done
        store.add(job, record)
        done += 1
        outcome = f"FAILED: {record['failed']}" if "failed" in record else f"{record['seconds']:.1f} s"
        rest = (time.monotonic() - started) / done * (len(missing) - done) / 60
        say(f"[{done}/{len(missing)}] {job.key}  {outcome}   about {rest:.0f} min left")

    owner = OwnServer(comparison, options.timeout * 60, urls, options.models, share_gpus=not options.cluster)
    spread(missing, owner, keep, say, workers=len(urls) or options.workers, scheduler=options.cluster, patience=options.patience * 60)


def report(comparison: Comparison, store: Store) -> None:
    """Write the table and the sheets, and name them."""
    text = write_table(comparison, store)
    write(store.folder / "table.md", text.encode())
    sheets = write_sheets(store.folder / "sheets", sheet_rows(comparison, store))
    say(f"\n{text}\n{store.folder / 'table.md'}")
    if sheets:
        say(f"{len(sheets)} sheet(s) of images in {sheets[0].parent}")


def sheet_rows(comparison: Comparison, store: Store) -> list[tuple[str, list[Cell]]]:
    """A row for each prompt and seed that has an image: every method's, where people would look below it, and its scores."""
    methods = {method: by_key(comparison, store, method) for method in METHODS if method in comparison.methods}
    keys = sorted({key for records in methods.values() for key in records})

    def cell(method: str, record: Record | None) -> Cell:
        if record is None:
            return Cell(f"{comparison.title(method)}: none", ())
        images = [Image.open(path) for name in ("image", "saliency") if (path := store.folder / record[name]).exists()]
        lines = [f"{score(record, reward):.2f}  {reward}" for reward in comparison.rewards]
        return Cell(comparison.title(method), images, lines, right(record) if comparison.demo else None)

    return [
        (
            f"{place + 1}. {comparison.prompts[place]}   (seed {Job(place, number, (), '').seed})",
            [cell(method, records.get((place, number))) for method, records in methods.items()],
        )
        for place, number in keys
    ]


if __name__ == "__main__":
    stop_on_signals()
    exit_with(main, stopped="stopped; the same command goes on from here.")
