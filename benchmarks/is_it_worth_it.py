"""Is optimizing the noise worth what it costs? Methods on the demo model, its judge, tables and plots.

    python run.py bench is_it_worth_it --smoke                       minutes: a few prompts, the contenders
    python run.py bench is_it_worth_it --half tune --groups all       hours: every ablation, on the half that choices are made on
    python run.py bench is_it_worth_it --half report --prompts 20 --groups procedures    the papers' 50 x 50 steps: very long
    python run.py bench is_it_worth_it --half report --prompts 120 --groups contenders saliency    the table of docs/does-it-work.md
    python run.py bench is_it_worth_it --half report --hard --base "4 steps, best of 32" --groups "few steps"      a harder bed

Resumable: what is in the folder already is not run again. The same prompts, seeds and weights give the same images on one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path

from sgool.demo.weights import WEIGHTS
from sgool.harness.problems import SetupProblem, exit_with
from sgool.harness.server import stop_on_signals

from .common.jobs import Job, Record, Store, plan, write
from .common.sheets import Cell, write_sheets
from .common.spread import spread
from .worth import plots
from .worth.hard import draw_hard_prompts
from .worth.hard_reward import load_hard_reward
from .worth.methods import BASELINE, GROUPS, SEGMENTER, Method
from .worth.prompts import CHUNK, HALVES, chunks, draw_prompts
from .worth.segmenter import load_segmenter
from .worth.tables import comparison_table, gained_and_lost, image_of, kinds_table, rows_of
from .worth.windows import rank
from .worth.worker import DemoOwner

CHANGED = "gradient, rescored"  # what the ablations and the maps change
SMOKE = ["best of 8", "gradient", "gradient and saliency"]


def chosen(names: list[str], groups: list[str], base: str = BASELINE) -> dict[str, Method]:
    """The methods asked for, ``base`` and plain sampling among them."""
    every = {name: method for group in GROUPS.values() for name, method in group.items()}
    if unknown := {base, *names} - set(every):
        raise SetupProblem(f"there is no method {', '.join(sorted(unknown))}. Methods: {'; '.join(every)}.")
    groups = [name for name in GROUPS if name != "procedures"] if "all" in groups else groups
    wanted = ["4 steps, plain" if every[base].few_steps else "plain", base, *names, *(name for group in groups for name in GROUPS[group])]
    return {name: every[name] for name in dict.fromkeys(wanted)}


def run(jobs: list[Job], methods: dict[str, Method], store: Store, options: argparse.Namespace) -> None:
    """Run what is missing."""
    missing, names = store.missing(jobs), {method.fingerprint(): name for name, method in methods.items()}
    done = 0

    def keep(job: Job, record: Record) -> None:
        nonlocal done
        if "failed" in record:
            raise SetupProblem(f"{names[job.method]}: {record['failed']}")
        store.add(job, record)
        done += 1
        right, first = sum(row["right"] for row in record["rows"]), job.place * CHUNK
        which = f"prompts {first + 1} to {first + CHUNK}, seed {job.seed_number + 1}"
        print(f"{done} of {len(missing)}: {names[job.method]}, {which}: {right} right", flush=True)

    if missing:
        reward = load_hard_reward(options.folder) if options.hard else None  # trained once, before the workers need it
        owner = DemoOwner({method.fingerprint(): method for method in methods.values()}, options.folder, reward)
        spread(missing, owner, keep, print, workers=options.processes, scheduler=options.scheduler)


def report(store: Store, outcomes: dict[str, list[Record]], out: Path, base: str = BASELINE) -> None:
    """Tables to standard output and to the folder, plots and images beside them; all against ``base``."""
    parts = [f"{len(outcomes[base])} images", comparison_table(outcomes, base), kinds_table(outcomes)]
    if CHANGED in outcomes:
        parts.append(comparison_table({CHANGED: outcomes[CHANGED], **outcomes}, CHANGED))
    text = "\n\n".join(parts) + "\n"
    write(out / "table.md", text.encode())
    print(text)
    plots.accuracy_against_cost(outcomes, out / "cost.png")
    plots.judge_against_score(outcomes, out / "iterations.png")
    for name, rows in outcomes.items():
        sheet = []
        for label, pairs in gained_and_lost(rows, outcomes[base]).items():
            for pair in pairs[:12]:
                cells = [Cell(each, [image_of(store, row)], (), row["right"]) for each, row in zip((base, name), pair, strict=True)]
                sheet.append((f"{label}: {pair[0]['prompt']}", cells))
        if sheet:
            write_sheets(out / name.replace(":", ""), sheet)


def main(arguments: list[str]) -> int:
    """Run what is missing, then tell."""
    parser = argparse.ArgumentParser(prog="run.py bench is_it_worth_it", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--half", choices=HALVES, default="tune")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=1, help="for each prompt; more prompts tell more than more seeds")
    parser.add_argument("--groups", nargs="*", choices=[*GROUPS, "all"], default=[], help="all: without the procedures, which take long")
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--base", default=BASELINE, help="the method that the others are compared with")
    parser.add_argument("--hard", action="store_true", help="prompts of four objects, and a reward that was taught such captions")
    parser.add_argument(
        "--windows", type=int, default=0, metavar="PAIRS", help="instead, how often a reward of few pixels ranks so many pairs"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scheduler", default="", metavar="tcp://HOST:PORT", help="use the workers of this dask scheduler instead")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "worth")
    parser.add_argument("--tables-only", action="store_true", help="run nothing")
    parser.add_argument("--smoke", action="store_true", help="10 prompts, the main contenders")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.prompts, options.methods = 10, SMOKE
    elif not (options.groups or options.methods):
        options.groups = ["contenders"]
    methods = chosen(options.methods, options.groups, options.base)
    options.folder = options.folder.absolute()
    if options.windows:
        rank(options.folder, options.windows, options.folder / "windows.csv")
        return 0
    name, draw = (f"hard-{options.half}", draw_hard_prompts) if options.hard else (options.half, draw_prompts)
    store = Store(options.folder / name, {"half": options.half, "weights": weights_mark(WEIGHTS)})
    jobs = plan(chunks(options.half, options.prompts, draw), options.seeds, [method.fingerprint() for method in methods.values()])
    if not options.tables_only:
        if any(method.saliency == SEGMENTER for method in methods.values()):
            load_segmenter(options.folder)  # once, before the workers need it
        run(jobs, methods, store, options)

    def rows(method: Method) -> list[Record]:
        return rows_of(store, [job for job in jobs if job.method == method.fingerprint()], options.prompts)

    outcomes = {name: found for name, method in methods.items() if len(found := rows(method)) == options.prompts * options.seeds}
    if options.base not in outcomes:
        raise SetupProblem(f"the folder does not have all images of {options.base!r} yet; run without --tables-only.")
    report(store, outcomes, options.folder / f"{name}-{options.prompts}x{options.seeds}", options.base)
    return 0


def weights_mark(folder: Path) -> str:
    """Changes with the demo model, whose results are not to be mixed."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


if __name__ == "__main__":
    stop_on_signals()
    exit_with(main, stopped="stopped; the same command goes on from here.")
