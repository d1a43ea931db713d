"""Whether windows on the salient help a search and gradients: images of two small objects on a large busy ground (worth/canvas.py).

    python run.py bench window_search --prompts 10 --noises 8          some minutes, beside the training of reward and segmenter
    python run.py bench window_search                                  an hour on one core; docs/data/window-search.csv

Few-step demo model. Of each prompt's noises every way to look scores every image, so that the best of any number is an expectation, and
all ways choose among the same images. Then the best of 8 noises and 5 iterations by some of the ways. The judge sees the image alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.samplers
import numpy as np
import torch
from sgool.demo.judging import judge_images
from sgool.saliency_models import registry

from .common.jobs import Job, Store
from .common.markdown import tell
from .common.statistics import flip_p, mean_share, p_text
from .windows import PREDICTED
from .worth.canvas import LEAST_RADIUS, RANDOM, WHOLE, Looks, LooksLoss, draw_two_small
from .worth.curve import Pool, best_of
from .worth.demo_model import Demo, weights_mark
from .worth.low_resolution import load_low_resolution
from .worth.methods import BEDS, SEGMENTER, in_four_steps, search_first
from .worth.segmenter import load_segmenter

READS = 32, 28, 24  # of 128: a quarter, what CLIP's 224 are of 1024, and less
SEARCHED = "best of 8, then 5 iterations"
OPTIMIZED = WHOLE, RANDOM, "windows: default-without-center", f"windows: {SEGMENTER}"
METHOD = in_four_steps(search_first(8, 5))
HEAD = (
    "reads, px",
    "method",
    "prompts",
    "by",
    "right, % (95 %)",
    "points over whole (95 %)",
    "p",
    "points over random windows (95 %)",
    "p",
)
Rights = dict[str, list[float]]
"""By way to look: of each prompt, how probably the chosen image is right."""


class Bed:
    """The demo model, the reward of few pixels, and what windows are put by."""

    def __init__(self, folder: Path) -> None:
        self.demo = Demo(folder)
        self.model = load_low_resolution(folder, LEAST_RADIUS)
        self.maps = {name: registry.load(name) for name in PREDICTED} | {SEGMENTER: load_segmenter(folder)}

    @torch.no_grad()
    def pool(self, text: str, noises: int, reads: int) -> dict[str, Any]:
        """Whether each of a prompt's images is right, and its scores by way to look."""
        plain, sampler = BEDS[4]["4 steps, plain"], comfy.samplers.sampler_object("euler")
        noise = torch.cat([self.demo.noise([text], number) for number in range(noises)])
        images = self.demo.images(plain, sampler, [text] * noises, noise, 0)
        looks = Looks(self.model, self.maps, text, reads)
        scores = {way: score.tolist() for way, score in looks.scores(images, looks.ways).items()}
        return {"right": [verdict.right for verdict in judge_images(self.demo.judge, images, [text])], "scores": scores}

    def optimized(self, text: str, reads: int, way: str) -> bool:
        """Whether the image is right that the optimizer returns."""
        objective = LooksLoss([Looks(self.model, self.maps, text, reads)], way)
        images, _ = self.demo.optimized(METHOD, [text], 0, self.demo.noise([text], 0), objective)
        return judge_images(self.demo.judge, images, [text])[0].right


def chosen(records: Sequence[dict[str, Any]], count: int) -> Rights:
    """By each way, the chance that the best of ``count`` noises is right."""
    found: Rights = {}
    for record in records:
        for way, scores in record["scores"].items():
            pool = Pool(np.array(record["right"]), np.array(scores), {})
            found.setdefault(way, []).append(best_of(pool, count))
    return found


def rows_of(reads: int, what: str, found: Rights) -> list[list[object]]:
    """Rows of the table: each way against the whole image and against random windows."""
    rows: list[list[object]] = []
    for way, rights in found.items():
        row: list[object] = [reads, what, len(rights), way, mean_share(rights)]
        for other in (WHOLE, RANDOM):
            differences = [one - two for one, two in zip(rights, found[other], strict=True)]
            row += ["", ""] if way == other else [f"{mean_share(differences):+.1f}", p_text(flip_p(differences))]
        rows.append(row)
    return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=int, default=100, help="of two small objects, of the half that is reported")
    parser.add_argument("--noises", type=int, default=32, help="of each, at least 8")
    parser.add_argument("--optimized", type=int, default=50, help="prompts that are optimized as well")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "worth", help="of reward, segmenter and results")


def main(options: argparse.Namespace) -> None:
    """Run what is missing, then tell."""
    folder, texts, rows = options.folder.absolute(), draw_two_small("report", options.prompts), list[list[object]]()
    store, bed = Store(folder / "window-search", {"weights": weights_mark(), "noises": options.noises}), Bed(folder)
    for reads in READS:
        pools = [Job(place, 0, (text,), f"pool, {reads}") for place, text in enumerate(texts)]
        for job in store.missing(pools):
            store.add(job, bed.pool(job.prompts[0], options.noises, reads))
        for count in (8, options.noises // 2):
            rows += rows_of(reads, f"best of {count}", chosen(store.of(pools), count))
    for reads in (max(READS), min(READS)):
        some = list(enumerate(texts[: options.optimized]))
        runs = {way: [Job(place, 0, (text,), f"{reads}, {way}") for place, text in some] for way in OPTIMIZED}
        for way, jobs in runs.items():
            for job in store.missing(jobs):
                store.add(job, {"right": bed.optimized(job.prompts[0], reads, way)})
        rows += rows_of(reads, SEARCHED, {way: [float(record["right"]) for record in store.of(jobs)] for way, jobs in runs.items()})
    tell(HEAD, rows, folder / "window-search.csv")
