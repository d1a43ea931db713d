"""Is optimizing the noise worth what it costs? Methods on the demo model, its judge, tables and images.

    python run.py bench is_it_worth_it --prompts 10 --methods "best of 8" gradient        minutes
    python run.py bench is_it_worth_it --prompts 50 --base "gradient, rescored" --methods "rescored(0.06)" "rescored(iterations=20)"
    python run.py bench is_it_worth_it --half report --prompts 20 --groups procedures    the papers' 50 x 50 steps: very long
    python run.py bench is_it_worth_it --half report --prompts 120 --groups contenders saliency    the table of docs/does-it-work.md
    python run.py bench is_it_worth_it --half report --hard --base "4 steps, best of 32" --groups "few steps"      a harder bed

A method is one of worth/methods.py by its name, or an expression in that file's words. Choices are made on the half "tune" and reported
on the other. Resumable: what is in the folder already is not run again. The same prompts, seeds and weights give the same images on one
machine.
"""

from __future__ import annotations

import argparse
import re
from functools import partial
from pathlib import Path

import pandas as pd
from sgool.harness.problems import SetupProblem

from .common.jobs import Store, plan, write
from .common.sheets import Cell, write_sheets
from .common.spread import add_options as add_processes
from .common.spread import spread
from .worth.demo_model import DemoOwner, images_of, weights_mark
from .worth.hard import draw_hard_prompts
from .worth.hard_reward import load_hard_reward
from .worth.methods import BASELINE, GROUPS, SEGMENTER, Method, method_of
from .worth.prompts import HALVES, chunks, draw_prompts
from .worth.segmenter import load_segmenter
from .worth.tables import IMAGE, comparison_table, frame, image_of, kinds_table, rights

MOST_SHOWN = 12  # of a method's gained images, and of its lost ones


def chosen(names: list[str], groups: list[str], base: str = BASELINE) -> dict[str, Method]:
    """The methods asked for, ``base`` and plain sampling among them; one that has two names by the first."""
    plain = "4 steps, plain" if method_of(base).few_steps else "plain"
    first: dict[str, str] = {}
    for name in (plain, base, *names, *(name for group in groups for name in GROUPS[group])):
        first.setdefault(method_of(name).fingerprint(), name)
    return {name: method_of(name) for name in first.values()}


def report(store: Store, images: pd.DataFrame, out: Path, base: str = BASELINE) -> None:
    """Tables to standard output and to the folder, images beside them; all against ``base``."""
    right = rights(images)
    text = "\n\n".join([f"{len(right)} images", comparison_table(images, base), kinds_table(images)]) + "\n"
    write(out / "table.md", text.encode())
    print(text)
    files = images.set_index(["method", *IMAGE])[["image", "column"]]
    for name in right:
        rows = []
        for label, only, other in (("gained", name, base), ("lost", base, name)):
            for number, prompt in right.index[right[only] & ~right[other]][:MOST_SHOWN]:
                cells = [Cell(each, [image_of(store, *files.loc[each, number, prompt])], (), each == only) for each in (base, name)]
                rows.append((f"{label}: {prompt}", cells))
        write_sheets(out / re.sub(r"[^\w .,=()-]", "", name), rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--half", choices=HALVES, default="tune")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=1, help="for each prompt; more prompts tell more than more seeds")
    parser.add_argument("--groups", nargs="*", choices=GROUPS, default=[])
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--base", default=BASELINE, help="the method that the others are compared with")
    parser.add_argument("--hard", action="store_true", help="prompts of four objects, and a reward that was taught such captions")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "worth")
    add_processes(parser)


def main(options: argparse.Namespace) -> None:
    """Run what is missing, then tell."""
    folder, reward = options.folder.absolute(), None
    methods = chosen(options.methods, options.groups, options.base)
    names = {method.fingerprint(): name for name, method in methods.items()}
    bed, draw = (f"hard-{options.half}", draw_hard_prompts) if options.hard else (options.half, draw_prompts)
    store = Store(folder / bed, {"half": options.half, "weights": weights_mark()})
    jobs = plan(chunks(options.half, options.prompts, draw), options.seeds, names)
    if store.missing(jobs) and (options.processes or options.scheduler):  # trained once, before the workers need it
        reward = load_hard_reward(folder) if options.hard else None
        if any(method.saliency == SEGMENTER for method in methods.values()):
            load_segmenter(folder)
    owner = DemoOwner(partial(images_of, {mark: methods[name] for mark, name in names.items()}), folder, reward)
    spread(store, jobs, owner, options.processes, options.scheduler)
    images = frame(store, jobs, options.prompts, names)
    if images.empty or options.base not in set(images.method):
        raise SetupProblem(f"the folder does not have all images of {options.base!r} yet; run without --processes 0.")
    report(store, images, folder / f"{bed}-{options.prompts}x{options.seeds}", options.base)
