"""What drawing more noises buys on prompts of four objects: right against cost, with the scorer's ceiling, and what methods make of it.

    python run.py bench hard_curve --prompts 10 --steps 4 --noises 64          some minutes on one core
    python run.py bench hard_curve --steps 4 8 --prompts 100 100 --noises 512 128 --write hard     hours; docs/data/hard-*.csv and the plot

``--steps``: 4 is the few-step demo model at CFG 1, 8 the demo model at CFG 3. Each prompt's noises are sampled, judged and scored once, the
first also as what the model takes for the image where successive halving looks. The best of any number of them, halving and the ceiling
(is any of them right?) are derived. Methods that is_it_worth_it --hard has run in the same folder are compared with the best of as many
noises as cost the same. Resumable; more noises go on from fewer, by 64.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.samplers
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sgool.comfy_bridge.resumable import LeftOff, Resumable
from sgool.demo.judging import judge_images
from sgool.harness.pack import ROOT

from .common.jobs import Store, plan, write
from .common.markdown import table, write_csv
from .common.statistics import flip_p, holm, mean_share, p_text, share
from .worth.curve import Pool, any_of, best_of, halved, looks, score_of_best
from .worth.demo_model import Demo, weights_mark
from .worth.hard import HARD_KINDS, draw_hard_prompts
from .worth.hard_reward import load_hard_reward
from .worth.methods import BEDS, COSTS, Method
from .worth.prompts import chunks
from .worth.tables import frame

HALF, BATCH, LOOKED, SEEDS = "report", 64, 128, 3  # noises that are looked at early; seeds: at most
HEAD = ("steps", "what", "noises", "evaluations", "right, % (95 %)", *HARD_KINDS)
SHARES = ("images", "right, % (95 %)", "evaluations", "best of", "points (95 %)", "p", "p, Holm")
AGAINST = ("method", *SHARES, "CPU s", "reward", "of the best")
DOCS = ROOT / "docs"
CHECKS = ("plain", *(f"best of {count}" for count in COSTS))  # of the curve itself, not methods that are compared with it
TITLES = {4: "4 steps, CFG 1, with the LoRA", 8: "8 steps, CFG 3"}
Run = tuple[list[list[object]], list[list[object]]]
"""The rows of the curves, and of the methods, of one generator."""


@torch.no_grad()
def sampled(demo: Demo, plain: Method, text: str, noises: range) -> Pool:
    """Some of a prompt's noises, sampled, judged and scored; the first of all with looks on the way."""
    texts, noise = [text] * len(noises), torch.cat([demo.noise([text], number) for number in noises])
    run, early = Resumable(comfy.samplers.sampler_object(plain.sampler), keep_answers=True), dict[int, Any]()
    for run.until in looks(plain.steps) if noises.stop <= LOOKED else ():
        with contextlib.suppress(LeftOff):
            demo.images(plain, run, texts, noise, 0)
        assert run.estimate is not None
        early[run.until] = demo.reward(demo.decoded(run.estimate), texts).numpy()
    run.until = None
    images = demo.images(plain, run, texts, noise, 0)
    right = [verdict.right for verdict in judge_images(demo.judge, images, texts)]
    return Pool(np.array(right), demo.reward(images, texts).numpy(), early)


def pools(folder: Path, steps: int, prompts: int, noises: int) -> list[Pool]:
    """Of each prompt; what the folder has is not sampled again. A run that is stopped has the first noises of all prompts."""
    plain, texts, demo = BEDS[steps][f"{steps} steps, plain"], draw_hard_prompts(HALF, prompts), None
    found: list[list[Pool]] = [[] for _ in texts]
    for start in range(0, noises, BATCH):
        some = range(start, min(start + BATCH, noises))
        for number, text in enumerate(texts):
            path = folder / f"curve-{steps}" / f"{number:04d}-{some.start}-{some.stop}.npz"
            if not path.exists():
                demo = demo or Demo(folder, load_hard_reward(folder))
                _save(path, pool := sampled(demo, plain, text, some))
                print(f"prompt {number + 1} of {prompts}: {pool.right.sum()} right of noises {some.start} to {some.stop}", flush=True)
            found[number].append(_load(path))
    return [joined(parts) for parts in found]


def _save(path: Path, pool: Pool) -> None:
    early: dict[str, Any] = {f"after{look}": scores for look, scores in pool.early.items()}
    np.savez(contents := io.BytesIO(), right=pool.right, final=pool.final, **early)
    write(path, contents.getvalue())


def _load(path: Path) -> Pool:
    arrays = np.load(path)
    early = {int(name.removeprefix("after")): arrays[name] for name in arrays if name.startswith("after")}
    return Pool(arrays["right"], arrays["final"], early)


def joined(parts: Sequence[Pool]) -> Pool:
    """One pool of a prompt's, in their order; of the early scores what there is."""
    early = {look: np.concatenate([part.early[look] for part in parts if part.early]) for look in parts[0].early}
    return Pool(np.concatenate([part.right for part in parts]), np.concatenate([part.final for part in parts]), early)


def curves(found: Sequence[Pool], steps: int) -> list[list[object]]:
    """Rows of the table: right, and right by kind, at every power of two."""
    noises = len(found[0].final)
    counts = [2**power for power in range(noises.bit_length()) if 2**power <= noises]
    looked = min((len(scores) for pool in found for scores in pool.early.values()), default=0)
    rows: list[list[object]] = []
    for count in counts:
        rows.append([steps, "best of", count, steps * count, *_shares([best_of(pool, count) for pool in found])])
    for count in (each for each in counts if 4 <= each <= looked):
        halving = [halved(pool, count, steps) for pool in found]
        rows.append([steps, "halving", count, halving[0][1], *_shares([share for share, _ in halving])])
    for count in counts:
        rows.append([steps, "any right (ceiling)", count, steps * count, *_shares([any_of(pool, count) for pool in found])])
    return rows


def _shares(values: Sequence[float]) -> list[object]:
    by_kind = [f"{100 * np.mean(values[number :: len(HARD_KINDS)]):.0f}" for number in range(len(HARD_KINDS))]
    return [mean_share(values), *by_kind]


def against(store: Store, found: Sequence[Pool], methods: Mapping[str, Method]) -> list[list[object]]:
    """Every method that was run, against the best of as many noises as cost the same, as the pools expect it.

    Images of one prompt are not independent: intervals and tests are of the means of prompts. Holm's correction is for all methods.
    """
    rows, ps = list[list[object]](), dict[str, float]()
    for name, method in methods.items():
        jobs = plan(chunks(HALF, len(found), draw_hard_prompts), SEEDS, [method.fingerprint()])
        images = frame(store, jobs, len(found), {method.fingerprint(): name})
        if len(images) and method.noises <= len(found[0].final) + 1:  # one more than a power of two, for some
            cells, p = _against(found, images, min(method.noises, len(found[0].final)), method.steps)
            rows.append([name, *cells])
            if not name.endswith(CHECKS):
                ps[name] = p
    corrected = dict(zip(ps, holm(list(ps.values())), strict=True))
    return [[*row[:7], p_text(corrected[str(row[0])]) if row[0] in corrected else "", *row[7:]] for row in rows]


def _against(found: Sequence[Pool], images: pd.DataFrame, count: int, steps: int) -> tuple[list[object], float]:
    """Cells of images with ``place`` (of the prompt), ``right``, ``seconds`` and ``similarity``; and p."""
    expected = images.place.map(lambda place: best_of(found[place], count))
    points = (images.right - expected).groupby(images.place, sort=False).mean()
    best = np.mean([score_of_best(found[place], count) for place in points.index])
    p, right = flip_p(points), share(int(images.right.sum()), len(images))
    means = [f"{images.seconds.mean():.2f}", f"{images.similarity.mean():.3f}", f"{best:.3f}"]
    return [len(images), right, steps * count, count, f"{mean_share(points):+.1f}", p_text(p), *means], p


def draw(runs: Mapping[int, Run], path: Path) -> None:
    """For each generator the curves, and the methods with their intervals."""
    figure = Figure(figsize=(7 * len(runs), 6.5), dpi=100, layout="constrained")
    ways = {way: number for number, way in enumerate(dict.fromkeys(_way(row) for _, methods in runs.values() for row in methods))}
    for axes, (steps, (rows, methods)) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        for what, style in {"any right (ceiling)": "k--", "best of": "C0o-", "halving": "C1s-"}.items():
            if not (own := [row for row in rows if row[1] == what]):
                continue  # no noise was looked at early
            costs = np.array([row[3] for row in own], dtype=float)
            right, low, high = 100 * np.array([row[4] for row in own], dtype=float).T
            axes.plot(costs, right, style, markersize=4, label=what)
            axes.fill_between(costs, low, high, color=style[:2] if style[0] == "C" else "k", alpha=0.1)
        _draw_methods(axes, [row for row in methods if not str(row[0]).endswith(CHECKS)], ways)
        axes.set(title=TITLES[steps], xscale="log", ylim=(0, 100), ylabel="wholly right, by the judge, %")
        axes.set_xlabel("model evaluations an image (a backward counts two)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _way(row: Sequence[object]) -> str:
    """Rows whose names differ in their numbers alone are one way to spend more or less."""
    return re.sub(r"\d+", "n", str(row[0]).split(" steps, ", 1)[1])


def _draw_methods(axes: Axes, methods: Sequence[list[object]], ways: Mapping[str, int]) -> None:
    """A line for each way, at what was spent on it, in its own look."""
    for way, number in ways.items():
        if not (rows := [row for row in methods if _way(row) == way]):
            continue
        shares = 100 * np.array([row[2] for row in rows], dtype=float)
        costs = np.array([row[3] for row in rows], dtype=float) * 1.03 ** (number - len(ways) / 2)  # of equal cost, side by side
        spread = np.abs(shares[:, 1:] - shares[:, :1]).T
        look: dict[str, Any] = {"marker": "^Dvp*"[number % 5], "color": f"C{(2 + number) % 10}"}
        axes.plot(costs, shares[:, 0], label=way, linewidth=1, markersize=5, **look)
        axes.errorbar(costs, shares[:, 0], yerr=spread, fmt="none", ecolor=look["color"], alpha=0.3)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, nargs="+", choices=BEDS, default=[4, 8], help="of the generators")
    parser.add_argument("--prompts", type=int, nargs="+", default=[100, 100], help="for each generator that is measured")
    parser.add_argument("--noises", type=int, nargs="+", default=[512, 128], help="of a prompt, for each generator")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "worth", help="the same as is_it_worth_it's")
    parser.add_argument("--write", metavar="NAME", help="write docs/data/NAME-curve.csv, NAME-methods.csv and docs/img/NAME_curve.png")


def main(options: argparse.Namespace) -> None:
    """Sample what is missing, then tell."""
    folder, runs = options.folder.absolute(), dict[int, Run]()
    store = Store(folder / f"hard-{HALF}", {"half": HALF, "weights": weights_mark()})
    for steps, prompts, noises in zip(options.steps, options.prompts, options.noises, strict=False):
        found = pools(folder, steps, prompts, noises)
        runs[steps] = curves(found, steps), against(store, found, BEDS[steps])
        print("\n\n".join([table(HEAD, runs[steps][0]), table(AGAINST, runs[steps][1])]))
    draw(runs, DOCS / "img" / f"{options.write}_curve.png" if options.write else folder / "curve.png")
    if options.write:
        write_csv(DOCS / "data" / f"{options.write}-curve.csv", HEAD, [row for rows, _ in runs.values() for row in rows])
        write_csv(DOCS / "data" / f"{options.write}-methods.csv", AGAINST, [row for _, rows in runs.values() for row in rows])
