"""Is optimizing the noise worth what it costs? Methods on the demo model, its judge, tables and plots.

    python run.py bench is_it_worth_it --smoke                       minutes: a few prompts, the contenders
    python run.py bench is_it_worth_it --half tune --groups all       hours: every ablation, on the half that choices are made on
    python run.py bench is_it_worth_it --half report --prompts 20 --groups procedures    the papers' 50 x 50 steps: very long
    python run.py bench is_it_worth_it --half report --prompts 120 --groups contenders saliency    the table of docs/does-it-work.md
    python run.py bench is_it_worth_it --half tune --attention        can attention help at all? of the images that are there

Resumable: what is in the folder already is not run again. The same prompts, seeds and weights give the same images on one machine.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import _environment as environment

environment.prepare()

from sgool.benchmarks.worth import plots, tables  # noqa: E402
from sgool.benchmarks.worth.discrimination import discrimination_table  # noqa: E402
from sgool.benchmarks.worth.methods import ABLATIONS, BEST_OF, CONTENDERS, IMPROVEMENTS, PROCEDURES, SALIENCY, Method  # noqa: E402
from sgool.benchmarks.worth.pool import run_all  # noqa: E402
from sgool.benchmarks.worth.prompts import HALVES, draw_prompts, places  # noqa: E402
from sgool.benchmarks.worth.results import Results, weights_mark  # noqa: E402
from sgool.benchmarks.worth.segmenter import load_segmenter  # noqa: E402
from sgool.benchmarks.worth.worker import Worker  # noqa: E402
from sgool.demo.weights import WEIGHTS  # noqa: E402  (needs the environment)

GROUPS: dict[str, dict[str, Method]] = {
    "saliency": SALIENCY,
    "contenders": CONTENDERS,
    "improvements": {name: each.method for name, each in IMPROVEMENTS.items()},
    "ablations": ABLATIONS,
    "procedures": PROCEDURES,
}
BASELINE = f"best of {BEST_OF}"
CHANGED = "choose the iterate anew"  # what the ablations and the maps change


def chosen(options: argparse.Namespace) -> dict[str, Method]:
    """The methods asked for, the baseline and plain sampling among them."""
    every = {name: method for group in GROUPS.values() for name, method in group.items()}
    if unknown := set(options.methods) - set(every):
        raise SystemExit(f"There is no method {', '.join(sorted(unknown))}. Methods: {'; '.join(every)}.")
    groups = [name for name in GROUPS if name != "procedures"] if "all" in options.groups else options.groups
    names = [*options.methods, *(name for group in groups for name in GROUPS[group])]
    return {name: every[name] for name in dict.fromkeys(["plain", BASELINE, *names])}


def report(results: Results, methods: dict[str, Method], wanted: list[int], folder: Path) -> None:
    """Tables to standard output and to the folder, plots beside them."""
    outcomes = {name: rows for name, method in methods.items() if (rows := results.of(method.fingerprint(), wanted)) is not None}
    if BASELINE not in outcomes:
        raise SystemExit(f"The folder does not have {len(wanted)} images of {BASELINE!r} yet; run without --tables-only.")
    parts = [f"{len(wanted)} images", tables.main_table(outcomes, BASELINE), tables.kinds_table(outcomes)]
    if CHANGED in outcomes:
        parts.append(tables.short_table({CHANGED: outcomes[CHANGED], **outcomes}, CHANGED))
        ideas = {name: (idea.hypothesis, idea.prediction) for name, idea in IMPROVEMENTS.items()}
        parts.append(tables.ideas_table(ideas, outcomes, BASELINE))
    text = "\n\n".join(parts) + "\n"
    (folder / "table.md").write_text(text)
    print(text)
    plots.accuracy_against_cost(outcomes, folder / "cost.png")
    plots.judge_against_score(outcomes, folder / "iterations.png")
    told = [f"Prompts that only one of a method and {BASELINE!r} gets right."]
    for name, rows in outcomes.items():
        for label, pairs in tables.gained_and_lost(rows, outcomes[BASELINE]).items():
            if pairs:
                told += [f"\n{name}, {label}:", *(f"- {row['prompt']}" for _, row in pairs)]
                plots.strip(pairs[:12], results.image, folder / f"{label} - {name}.png")
    (folder / "prompts.md").write_text("\n".join(told) + "\n")


def main() -> None:
    """Run what is missing, then tell."""
    parser = argparse.ArgumentParser(prog="run.py bench is_it_worth_it", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--half", choices=HALVES, default="tune")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=1, help="for each prompt; more prompts tell more than more seeds")
    parser.add_argument("--groups", nargs="*", choices=[*GROUPS, "all"], default=[], help="all: without the procedures, which take long")
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "worth")
    parser.add_argument("--tables-only", action="store_true", help="run nothing")
    parser.add_argument("--attention", action="store_true", help="run nothing; how well the scorer tells right from wrong with each map")
    parser.add_argument("--smoke", action="store_true", help="10 prompts, the main contenders")
    options = parser.parse_args()
    if options.smoke:
        options.prompts, options.methods = 10, ["best of 8", "gradient", "gradient and saliency"]
    elif not (options.groups or options.methods):
        options.groups = ["contenders"]
    methods = chosen(options)
    wanted = places(options.prompts, options.seeds)
    results = Results(options.folder, options.half, weights_mark(WEIGHTS))
    if options.attention:
        print(discrimination_table(results, Worker(options.folder)))
        return
    if not options.tables_only:
        load_segmenter(options.folder)
        drawn = [prompt for number in range(options.seeds) for prompt in draw_prompts(options.half, options.prompts, number)]
        run_all(methods, dict(zip(wanted, drawn, strict=True)), results, options.folder, options.processes)
    out = options.folder / f"{options.half}-{options.prompts}x{options.seeds}"
    out.mkdir(parents=True, exist_ok=True)
    report(results, methods, wanted, out)


if __name__ == "__main__":
    main()
