"""Do the artistic objectives do what they say? Each on the demo model: its own measure and the judge, against the best of N at equal cost.

    python run.py bench art --images 10 --ways alone     about seven minutes of one core
    python run.py bench art --images 50                  two hours of one core

In four steps at CFG 1, with the demo model's LoRA. For each prompt 32 noises are sampled once, for all terms: the first is the plain image.
The best of the first 16 is where the default preset's 5 iterations begin, which cost three samplings each; so the best of all 32 costs what
the preset does. Each term is optimized alone, and with the CLIP loss in three shares of the gradient. Resumable: what is in the folder
already is not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sgool.latent_optimization.presets import DEFAULT_PRESET, preset

from .common.jobs import Job, Record, Store, plan
from .common.markdown import tell
from .common.spread import add_options as add_processes
from .common.spread import spread
from .wishes.figure import write_figure
from .wishes.owner import BEST_OF, NOISES, WAYS, WishesOwner, pairs_of
from .wishes.terms import terms
from .worth.prompts import chunks

HEAD = ["term", "optimized", "images", "improved", "better than best of N", "plain", "start", "measure", f"best of {BEST_OF}"]
HEAD += ["right: plain", "right", f"right: best of {BEST_OF}", "goal"]
IMPROVED, LOST = 0.8, 0.05  # the goal: the measure falls in so many of the images, and the judge calls at most so many fewer right


def rows_of(store: Store, jobs: list[Job], names: list[str], ways: list[str]) -> list[list[object]]:
    """A line for each term and way: shares of images in percent, means of the term's own measure, and how many the judge calls right."""
    rows: list[list[object]] = []
    for name in names:
        for way in ways:
            method = f"{name}, {way}"
            if not (pairs := pairs_of(store.of(jobs), method)):
                continue
            values, rights = (np.concatenate(each, axis=1) for each in zip(*(_four(*pair, name, method) for pair in pairs), strict=True))
            plain, start, after, best = values
            shares = [100 * float((after < other).mean()) for other in (plain, best)]
            means = [f"{each.mean():.3f}" for each in (plain, start, after, best)]
            counts = [int(rights[index].sum()) for index in (0, 2, 3)]
            goal = shares[0] >= 100 * IMPROVED and counts[0] - counts[1] <= LOST * len(plain)
            percent = [f"{share:.0f} %" for share in shares]
            rows.append([name, way, len(plain), *percent, *means, *counts, "held" if goal else "missed"])
    return rows


def _four(first: Record, one: Record, name: str, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Measure and verdict of plain image, start, optimized image and best of N: ``(4, prompts)`` each."""
    start, best = first["chosen"][method]
    found = []
    for every, after in ((first["measured"][name], one["measured"][name]), (first["right"], one["right"])):
        noises, columns = np.array(every), np.arange(len(after))
        found.append(np.array([noises[:, 0], noises[columns, start], after, noises[columns, best]]))
    return found[0], found[1]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=50, help="prompts, one seed each, in tens")
    parser.add_argument("--terms", nargs="*", default=[], metavar="TERM", help="only these")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "art")
    figure = "draw --terms before and after, in the first of --ways, the last two as failures, into this JPEG"
    parser.add_argument("--figure", type=Path, help=figure)
    parser.add_argument("--csv", type=Path, help="write the table here as well")
    add_processes(parser)


def main(options: argparse.Namespace) -> None:
    """Run what is missing, then tell."""
    names = options.terms or list(terms())
    default = {"preset": DEFAULT_PRESET, **preset(DEFAULT_PRESET).to_dict()}  # goes on only with the same
    store = Store(options.folder.absolute(), {"preset": default, "best_of": BEST_OF, "terms": list(terms())})
    own, methods = chunks("report", options.images), [f"{name}, {way}" for way in options.ways for name in names]
    noises, optimized = plan(own, 1, [NOISES]), plan(own, 1, methods)
    spread(store, noises, WishesOwner(options.folder), options.processes, options.scheduler)
    first = {record["place"]: record for record in store.of(noises)}
    spread(store, optimized, WishesOwner(options.folder, first), options.processes, options.scheduler)
    rows = rows_of(store, noises + optimized, names, options.ways)
    tell(HEAD, rows, options.csv)
    if options.figure:
        write_figure(store, names, options.ways[0], options.figure)
