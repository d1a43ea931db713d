"""The paper-style table on models of running ComfyUI servers: plain sampling, best of N, DOODL, SGOOL and this pack's default.

    python run.py bench real_models --server http://127.0.0.1:8188 --checkpoint NAME --prompts prompts.txt --folder runs/name \\
        --optimized-scorer clip-vit-large-patch14 --judging-scorers PickScore_v1 siglip-so400m-patch14-384

Stop it with Ctrl-C; the same command goes on from there. Without --server it only writes table and sheets of what the folder holds.
docs/real-models.md says what to run, what it needs and how long it takes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from sgool.benchmarks.real.cost import equal_cost, estimate
from sgool.benchmarks.real.plan import DEMO, METHODS, Job, Plan, read_prompts
from sgool.benchmarks.real.results import Results, write
from sgool.benchmarks.real.sheets import write_sheets
from sgool.benchmarks.real.spread import Record, Spread
from sgool.benchmarks.real.stations import Station
from sgool.benchmarks.real.table import write_table
from sgool.benchmarks.real.work import Work
from sgool.harness.locks import only_one
from sgool.harness.problems import SetupProblem, exit_with
from sgool.harness.server import stop_on_signals
from sgool.latent_optimization.presets import DEFAULT_PRESET, preset


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="run.py bench real_models", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    made.add_argument(
        "--server", action="append", default=[], metavar="URL", help="a running ComfyUI with this pack; may be given many times"
    )
    made.add_argument("--checkpoint", required=True, help="as its loader names it, or 'demo' for the demo model")
    made.add_argument("--prompts", required=True, type=Path, metavar="FILE", help="one prompt a line; # begins a comment")
    made.add_argument("--folder", required=True, type=Path, help="for results, images, table")
    made.add_argument("--most-prompts", type=int, metavar="N", help="only the first N prompts of the file")
    made.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds for each prompt (default: 1)")
    made.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="default: all")
    made.add_argument("--optimized-scorer", default="", metavar="NAME", help="folder in models/clip_scorers of the servers, or hub:NAME")
    made.add_argument("--judging-scorers", nargs="*", default=[], metavar="NAME", help="others that judge, the same way")
    made.add_argument("--saliency-model", default="", metavar="NAME", help="as Load Saliency Model names it (default: the pack's own)")
    made.add_argument("--iterations", type=int, default=-1, help="of all methods that optimize (default: each preset's own number)")
    made.add_argument("--best-of", type=int, default=0, metavar="N", help="default: as many as cost what the pack's default preset costs")
    made.add_argument("--negative", default="", help="negative prompt")
    for name, kind, default in (("steps", int, 20), ("cfg", float, 7.5), ("sampler", str, "euler"), ("scheduler", str, "normal")):
        made.add_argument(f"--{name}", type=kind, default=default, help=f"as in KSampler (default: {default})")
    for name in ("width", "height"):
        made.add_argument(f"--{name}", type=int, default=0, help="default: 512, and 64 for the demo model; SDXL wants 1024")
    made.add_argument("--patience", type=float, default=60, metavar="MINUTES", help="wait so long when no server is there (default: 60)")
    made.add_argument("--timeout", type=float, default=180, metavar="MINUTES", help="most that one image may take (default: 180)")
    made.add_argument("--retry-failed", action="store_true", help="try again what failed in an earlier run")
    return made


def plan_from(options: argparse.Namespace) -> Plan:
    """The plan of a command line. Raises SetupProblem for what cannot be run."""
    demo = options.checkpoint == DEMO
    if not demo and not options.optimized_scorer:
        raise SetupProblem(
            "--optimized-scorer is missing: the folder in models/clip_scorers that DOODL, SGOOL and the others optimize for."
        )
    if demo and options.optimized_scorer:
        raise SetupProblem("the demo model is optimized for its own scorer; leave --optimized-scorer out.")
    if options.seeds < 1 or (options.most_prompts is not None and options.most_prompts < 1):
        raise SetupProblem("--seeds and --most-prompts have to be at least 1.")
    size = 64 if demo else 512
    return Plan(
        checkpoint=options.checkpoint,
        prompts=read_prompts(options.prompts, options.most_prompts),
        best_of=options.best_of or equal_cost(options.iterations, options.steps),
        seeds=options.seeds,
        methods=tuple(method for method in METHODS if method in options.methods),
        negative=options.negative,
        steps=options.steps,
        cfg=options.cfg,
        sampler=options.sampler,
        scheduler=options.scheduler,
        width=options.width or size,
        height=options.height or size,
        iterations=options.iterations,
        optimized_scorer=options.optimized_scorer,
        judging_scorers=tuple(dict.fromkeys(options.judging_scorers)),
        saliency_model=options.saliency_model,
        default=json.loads(json.dumps({"preset": DEFAULT_PRESET, **preset(DEFAULT_PRESET).to_dict()})),  # as it will be read again
    )


class Printer:
    """Says on the terminal what has been done."""

    def __init__(self, results: Results, left: int) -> None:
        self.results = results
        self.left, self.done = left, 0
        self.started = time.monotonic()

    def keep(self, job: Job, record: Record) -> None:
        """Keep a record and say so."""
        self.results.add(job, dict(record))
        self.done += 1
        elapsed = time.monotonic() - self.started
        outcome = f"FAILED: {record['failed']}" if "failed" in record else f"{record['seconds']:.1f} s"
        rest = elapsed / self.done * (self.left - self.done) / 60
        say(f"[{self.done}/{self.left}] {job.key}  {outcome}   about {rest:.0f} min left")


def say(line: str) -> None:
    """Tell the user at once."""
    print(line, flush=True)


def report(results: Results) -> None:
    """Write the table and the sheets, and name them."""
    table = write_table(results)
    write(results.folder / "table.md", table.encode())
    sheets = write_sheets(results)
    say(f"\n{table}\n{results.folder / 'table.md'}")
    if sheets:
        say(f"{len(sheets)} sheet(s) of images in {sheets[0].parent}")


def main(arguments: list[str]) -> int:
    """Read the command line and run it."""
    options = parser().parse_args(arguments)
    # run.py goes to its own folder; a relative one is meant from where the user is.
    folder = Path(os.environ.get("SGOOL_CALLED_FROM", ".")).absolute() / options.folder
    plan = plan_from(options)
    with only_one(folder / ".lock", lambda: say(f"Another run is at work in {folder}; waiting for it to end.")):
        return run(Results(folder, plan), options)


def run(results: Results, options: argparse.Namespace) -> int:
    """Run what is missing in a folder, then write the report, whatever ended it."""
    missing = results.missing(retry_failed=options.retry_failed)
    there = len(results.plan.jobs()) - len(missing)
    say(f"{len(missing)} images to make" + (f", {there} are there already." if there else "."))
    if missing:
        say(estimate(results.plan))
    try:
        if missing and options.server:
            work = Work(results.plan, options.timeout * 60)
            stations = [Station(url, work.prepare) for url in dict.fromkeys(options.server)]
            Spread(stations, work, Printer(results, len(missing)).keep, say, options.patience * 60).run(missing)
        elif missing:
            say("No --server was given: this is the table of what is there.")
    finally:
        if results.records:
            report(results)
    return 0


if __name__ == "__main__":
    stop_on_signals()
    exit_with(main, stopped="stopped; the same command goes on from here.")
