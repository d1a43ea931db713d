"""What drawing more noises buys on prompts of four objects, by the few-step demo model: right against cost, with the scorer's ceiling.

    python run.py bench hard_curve --prompts 10 --noises 64                    some minutes on one core
    python run.py bench hard_curve --prompts 100 --noises 512 --write          half an hour; docs/data/hard-curve.csv and the plot

Each prompt's noises are sampled, judged and scored once, also as what the model takes for the image after one and two of the four steps.
The best of any number of them, successive halving and the ceiling (is any of them right?) are derived. Methods that is_it_worth_it --hard
has run in the same folder are compared with the best of as many noises as cost the same. Resumable.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.samplers
import numpy as np
import torch
from matplotlib.figure import Figure
from sgool.comfy_bridge.resumable import LeftOff, Resumable
from sgool.demo.judging import judge_images
from sgool.demo.weights import WEIGHTS
from sgool.harness.pack import ROOT
from sgool.harness.problems import exit_with
from torch import Tensor

from .common.jobs import Store, plan
from .common.markdown import table, write_csv
from .common.statistics import Share, mean_interval, mean_share, p_text, paired, share
from .is_it_worth_it import weights_mark
from .worth.curve import STEPS, Pool, any_of, best_of, halved
from .worth.hard import HARD_KINDS, draw_hard_prompts
from .worth.hard_reward import load_hard_reward
from .worth.methods import FEW_STEPS
from .worth.prompts import CHUNK, chunks
from .worth.worker import Demo

HALF, BATCH, LOOKS, SEEDS = "report", 64, (1, 2), 3  # seeds: at most
HEAD = ("what", "noises", "evaluations", "right, % (95 %)", *HARD_KINDS)
AGAINST = ("method", "images", "right, % (95 %)", "evaluations", "best of as much", "points (95 %)", "gained / lost, one draw", "p")
DATA, PLOT = ROOT / "docs" / "data", ROOT / "docs" / "img" / "hard_curve.png"


def evaluations(name: str) -> int:
    """Model evaluations of a method of ``FEW_STEPS``: a forward counts one, a backward two; the last iterate has no gradient."""
    settings = FEW_STEPS[name].preset.settings
    runs = settings.best_of if settings.best_of > 1 or not settings.iterations else 0
    return STEPS * (runs + 3 * settings.iterations + bool(settings.iterations))


@torch.no_grad()
def sampled(demo: Demo, text: str, noises: int) -> Pool:
    """One prompt's noises, sampled, judged and scored, with looks on the way."""
    method, right, final = FEW_STEPS["4 steps, plain"], list[bool](), list[Tensor]()
    early: dict[int, list[Tensor]] = {look: [] for look in LOOKS}
    for numbers in torch.arange(noises).split(BATCH):
        texts = [text] * len(numbers)
        noise = torch.cat([demo.noise([text], number) for number in numbers.tolist()])
        run = Resumable(comfy.samplers.sampler_object(method.sampler), keep_answers=True)
        for run.until in LOOKS:
            with contextlib.suppress(LeftOff):
                demo.images(method, run, texts, noise, 0)
            assert run.estimate is not None
            looked = demo.vae.decode(demo.few_steps.model.process_latent_out(run.estimate.float())).movedim(-1, 1).float()
            early[run.until].append(demo.reward(looked, texts))
        run.until = None
        images = demo.images(method, run, texts, noise, 0)
        right += [verdict.right for verdict in judge_images(demo.judge, images, texts)]
        final.append(demo.reward(images, texts))
    return Pool(np.array(right), torch.cat(final).numpy(), {look: torch.cat(scores).numpy() for look, scores in early.items()})


def pools(folder: Path, prompts: int, noises: int) -> list[Pool]:
    """Of each prompt; what the folder has is not sampled again."""
    found, demo = [], None
    for number, text in enumerate(draw_hard_prompts(HALF, prompts)):
        path = folder / "curve" / f"{number:04d}-{noises}.npz"
        if not path.exists():
            demo = demo or Demo(folder, load_hard_reward(folder))
            pool = sampled(demo, text, noises)
            path.parent.mkdir(parents=True, exist_ok=True)
            early: dict[str, Any] = {f"after{look}": scores for look, scores in pool.early.items()}
            np.savez(path, right=pool.right, final=pool.final, **early)
            print(f"prompt {number + 1} of {prompts}: {pool.right.sum()} of {noises} right", flush=True)
        arrays = np.load(path)
        found.append(Pool(arrays["right"], arrays["final"], {look: arrays[f"after{look}"] for look in LOOKS}))
    return found


def curves(found: Sequence[Pool]) -> list[list[object]]:
    """Rows of the table: right, and right by kind, at every power of two."""
    noises = len(found[0].final)
    counts = [2**power for power in range(noises.bit_length()) if 2**power <= noises]
    looked = min(len(scores) for pool in found for scores in pool.early.values())
    rows: list[list[object]] = []
    for count in counts:
        rows.append(["best of", count, STEPS * count, *_shares([best_of(pool, count) for pool in found])])
    for count in (each for each in counts if 4 <= each <= looked):
        halving = [halved(pool, count) for pool in found]
        rows.append(["halving", count, round(halving[0][1]), *_shares([share for share, _ in halving])])
    for count in counts:
        rows.append(["any right (ceiling)", count, STEPS * count, *_shares([any_of(pool, count) for pool in found])])
    return rows


def _shares(values: Sequence[float]) -> list[object]:
    by_kind = [f"{100 * np.mean(values[number :: len(HARD_KINDS)]):.0f}" for number in range(len(HARD_KINDS))]
    return [mean_share(values), *by_kind]


def against(store: Store, found: Sequence[Pool]) -> list[list[object]]:
    """Every method that was run, against the best of as many noises as cost the same: the expected one, and one draw for each seed.

    The interval is of the mean over prompts.
    """
    rows = []
    for name, method in FEW_STEPS.items():
        jobs = plan(chunks(HALF, len(found), draw_hard_prompts), SEEDS, [method.fingerprint()])
        images = [
            (record["place"] * CHUNK + column, record["seed_number"], bool(row["right"]))
            for record in store.of(jobs)
            for column, row in enumerate(record["rows"])
            if record["place"] * CHUNK + column < len(found)
        ]
        count = max(1, evaluations(name) // STEPS)
        if images and (1 + max(seed for _, seed, _ in images)) * count <= len(found[0].final):
            rows.append([name, len(images), *_against(found, images, count)])
    return rows


def _against(found: Sequence[Pool], images: Sequence[tuple[int, int, bool]], count: int) -> list[object]:
    right = [hit for *_, hit in images]
    points: dict[int, list[float]] = {}
    for place, _, hit in images:
        points.setdefault(place, []).append(hit - best_of(found[place], count))
    low, high = mean_interval([float(np.mean(own)) for own in points.values()])
    difference = f"{100 * np.mean([np.mean(own) for own in points.values()]):+.1f} ({100 * low:+.0f} to {100 * high:+.0f})"
    drawn = [
        bool(found[place].right[seed * count + np.argmax(found[place].final[seed * count : (seed + 1) * count])])
        for place, seed, _ in images
    ]
    pair = paired(right, drawn)
    return [share(sum(right), len(right)), STEPS * count, count, difference, f"{pair.gained} / {pair.lost}", p_text(pair.p)]


def draw(rows: Sequence[Sequence[object]], methods: Sequence[Sequence[object]], path: Path) -> None:
    """The curves, and the methods as points with their intervals."""
    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    axes = figure.subplots()
    for what, style in {"any right (ceiling)": "k--", "best of": "C0o-", "halving": "C1s-"}.items():
        own = [row for row in rows if row[0] == what]
        costs = np.array([row[2] for row in own], dtype=float)
        right, low, high = 100 * np.array([row[3] for row in own], dtype=float).T
        axes.plot(costs, right, style, markersize=4, label=what)
        axes.fill_between(costs, low, high, color=style[:2] if style[0] == "C" else "k", alpha=0.1)
    for number, row in enumerate(methods):
        assert isinstance(row[2], Share)
        right, low, high = (100 * each for each in row[2])
        at = float(row[3]) * 1.04 ** (number % 7 - 3)  # type: ignore[arg-type]  # those of equal cost, side by side
        label = f"{str(row[0]).removeprefix('4 steps, ')} ({row[1]} images)"
        axes.errorbar(
            [at], [right], yerr=[[right - low], [high - right]], fmt="^Dvp*"[number % 5], color=f"C{2 + number}", capsize=2, label=label
        )
    axes.set(
        xscale="log", xlabel="model evaluations an image (a backward counts two)", ylabel="wholly right, by the judge, %", ylim=(0, 100)
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(arguments: list[str]) -> int:
    """Sample what is missing, then tell."""
    parser = argparse.ArgumentParser(prog="run.py bench hard_curve", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--noises", type=int, default=512, help="for each prompt")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "worth", help="the same as is_it_worth_it's")
    parser.add_argument("--write", action="store_true", help="write docs/data/hard-curve.csv, hard-methods.csv and docs/img/hard_curve.png")
    options = parser.parse_args(arguments)
    folder = options.folder.absolute()
    found = pools(folder, options.prompts, options.noises)
    rows = curves(found)
    methods = against(Store(folder / f"hard-{HALF}", {"half": HALF, "weights": weights_mark(WEIGHTS)}), found)
    print("\n\n".join([table(HEAD, rows), table(AGAINST, methods)]))
    draw(rows, methods, PLOT if options.write else folder / PLOT.name)
    if options.write:
        write_csv(DATA / "hard-curve.csv", HEAD, rows)
        write_csv(DATA / "hard-methods.csv", AGAINST, methods)
    return 0


if __name__ == "__main__":
    exit_with(main, stopped="stopped; the same command goes on from here.")
