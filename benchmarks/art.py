"""Do the artistic objectives do what they say? Each on the demo model: its own measure and the judge, against the best of N at equal cost.

    python run.py bench art --smoke              minutes: 4 prompts, three terms
    python run.py bench art --images 50           hours

For each prompt 32 noises are sampled once: the first is the plain image, and the best of all 32 by a term costs what the default
preset does (16 noises, then 5 iterations of three samplings each, and one more). Each term is optimized alone, and with the CLIP loss
in equal shares of the gradient. Resumable: what is in the folder already is not run again.
"""

from __future__ import annotations

import argparse
import io
import logging
from pathlib import Path
from typing import Any

import comfy.samplers
import numpy as np
import torch
from PIL import Image
from sgool.comfy_bridge.saliency import SaliencyPredictor
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.demo.judging import judge_images
from sgool.guidance.art.charts import draw_color, draw_light
from sgool.guidance.art.color_rules import ColorContrast, Harmony, Palette, Temperature, hex_colors
from sgool.guidance.art.composition import Composition
from sgool.guidance.art.composition_rules import Centered, PreferenceForBalance, RuleOfThirds
from sgool.guidance.art.light_rules import BackLight, KeyDirection
from sgool.guidance.art.view import ViewObjective
from sgool.guidance.objective import BALANCES, Context, Objective, WeightedSum
from sgool.guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss
from sgool.harness.problems import exit_with
from sgool.saliency_models import registry
from torch import Tensor

from .common.jobs import Job, Record, Store, plan
from .common.markdown import table
from .common.optimizer import DEFAULT_PRESET, default_settings, preset
from .worth.methods import Method
from .worth.prompts import draw_prompts
from .worth.worker import Demo

NOISES, BEST_OF = "noises", 32
ALONE, WITH_CLIP = "alone", "with CLIP"
SMOKE = ["rule of thirds", "complementary", "light from the left"]


def _by_view(name: str, rule: Any, saliency: Any, drawn: Any) -> Objective:
    return ViewObjective(name, rule, saliency, drawn)


def terms() -> dict[str, Objective]:
    """The objectives that are tried, by name."""
    found = SaliencyPredictor(registry.load("default-without-center"))
    palette = Palette(hex_colors("#264653 #2a9d8f #e9c46a #e76f51"))
    return {
        "rule of thirds": Composition(RuleOfThirds(), found),
        "centered": Composition(Centered(), found),
        "preference for balance": Composition(PreferenceForBalance(), found),
        "complementary": _by_view("harmony", Harmony(), None, draw_color),
        "palette": _by_view("palette", palette, None, draw_color),
        "warm": _by_view("temperature", Temperature(), None, draw_color),
        "subject contrast": _by_view("subject contrast", ColorContrast(difference=1.0), found, draw_color),
        "light from the left": _by_view("key direction", KeyDirection("left"), None, draw_light),
        "back light": _by_view("back light", BackLight(difference=0.6), found, draw_light),
    }


class Runs:
    """What is sampled and optimized, with the demo model loaded."""

    def __init__(self, folder: Path) -> None:
        self.demo, self.terms, self.plain = Demo(folder), terms(), Method()

    def do(self, job: Job) -> Record:
        """The images of a job: measured by every term and judged."""
        if job.method == NOISES:
            sampler = comfy.samplers.sampler_object(self.plain.sampler)
            images = torch.cat([self._sample(sampler, job, number) for number in range(BEST_OF)])
            kept = images[:1]
        else:
            name, how = job.method.split(", ")
            images = kept = self._sample(self._optimizer(name, how, job), job, 0)
        contents = io.BytesIO()
        pixels = (kept[0].clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()
        Image.fromarray(np.ascontiguousarray(pixels)).save(contents, "PNG")
        with torch.no_grad():
            measured = {name: term(images, Context()).losses.tolist() for name, term in self.terms.items()}
        right = [verdict.right for verdict in judge_images(self.demo.judge, images, list(job.prompts) * len(images))]
        return {"measured": measured, "right": right, "files": {f"images/{job.key}.png": contents.getvalue()}}

    def _optimizer(self, name: str, how: str, job: Job) -> Any:
        objective: Objective = self.terms[name]
        if how == WITH_CLIP:
            clip = SaliencyCLIPLoss(self.demo.reward, job.prompts, settings=LossSettings(w_salient=0.0))
            objective = WeightedSum([(1.0, clip), (1.0, objective)], BALANCES[1])
        return SGOOLSampler(comfy.samplers.sampler_object(self.plain.sampler), objective, self.demo.vae, preset(DEFAULT_PRESET))

    @torch.no_grad()
    def _sample(self, sampler: Any, job: Job, number: int) -> Tensor:
        return self.demo._images(self.plain, sampler, job.prompts, self.demo._noise(job.prompts, number), job.seed)


def rows_of(store: Store, jobs: list[Job], names: list[str]) -> list[list[object]]:
    """A line for each term and way: how many images improved, the means, and how many the judge calls right."""
    every = {(record["place"], record["method"]): record for record in store.of(jobs)}
    rows: list[list[object]] = []
    for name in names:
        for how in (ALONE, WITH_CLIP):
            pairs = [(every[place, NOISES], one) for (place, method), one in every.items() if method == f"{name}, {how}"]
            if not pairs:
                continue
            before = np.array([first["measured"][name][0] for first, _ in pairs])
            after = np.array([one["measured"][name][0] for _, one in pairs])
            best = [int(np.argmin(first["measured"][name])) for first, _ in pairs]
            best_value = np.array([first["measured"][name][index] for (first, _), index in zip(pairs, best, strict=True)])
            rights = [
                sum(first["right"][0] for first, _ in pairs),
                sum(one["right"][0] for _, one in pairs),
                sum(first["right"][index] for (first, _), index in zip(pairs, best, strict=True)),
            ]
            means = [f"{values.mean():.3f}" for values in (before, after, best_value)]
            rows.append([name, how, len(pairs), f"{100 * float((after < before).mean()):.0f} %", *means, *rights])
    return rows


def main(arguments: list[str]) -> int:
    """Run what is missing, then tell."""
    parser = argparse.ArgumentParser(prog="run.py bench art", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=50, help="prompts, one seed each")
    parser.add_argument("--terms", nargs="*", default=[], metavar="TERM", help="only these")
    parser.add_argument("--ways", nargs="*", choices=[ALONE, WITH_CLIP], default=[ALONE, WITH_CLIP])
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "art")
    parser.add_argument("--tables-only", action="store_true", help="run nothing")
    parser.add_argument("--smoke", action="store_true", help="4 prompts, three terms")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.images, options.terms = 4, SMOKE
    names = options.terms or list(terms())
    store = Store(options.folder.absolute(), {"preset": default_settings(), "best_of": BEST_OF})
    methods = [NOISES, *(f"{name}, {how}" for name in names for how in options.ways)]
    jobs = plan([(text,) for text in draw_prompts("report", options.images)], 1, methods)
    missing = [] if options.tables_only else store.missing(jobs)
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    runs = Runs(options.folder) if missing else None
    for done, job in enumerate(missing, start=1):
        assert runs is not None
        store.add(job, runs.do(job))
        print(f"{done} of {len(missing)}: {job.method}, image {job.place + 1}", flush=True)
    head = ["term", "optimized", "images", "improved", "plain", "optimized", f"best of {BEST_OF}"]
    print(table([*head, "right: plain", "optimized", f"best of {BEST_OF}"], rows_of(store, jobs, names)))
    return 0


if __name__ == "__main__":
    exit_with(main, stopped="stopped; the same command goes on from here.")
