"""Samples and optimizes prompts for the artistic objectives, on the demo model in four steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import comfy.samplers
import torch
from sgool.demo.judging import judge_images
from sgool.guidance.objective import BALANCES, Context, Objective, WeightedSum
from sgool.guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss
from sgool.guidance.terms import balanced, norms
from sgool.latent_optimization.presets import DEFAULT_PRESET, preset
from torch import Tensor

from ..common.jobs import Job, Record
from ..worth.demo_model import Demo, DemoOwner, png_of
from ..worth.methods import FEW_STEPS
from .terms import terms

NOISES = "noises"
ALONE = "alone"
# Of the gradient: what CLIP has, and what the term has.
SHARES = {"with CLIP, 1 : 1": 1.0, "with CLIP, 1 : 0.3": 0.3, "with CLIP, 1 : 3": 3.0}
WAYS = [ALONE, *SHARES]
BEST_OF = 32  # costs what the preset does: its search, five iterations of three samplings each, and one more
PLAIN = FEW_STEPS["4 steps, plain"]
SEARCHED = preset(DEFAULT_PRESET)
WITHOUT_SEARCH = replace(SEARCHED, settings=replace(SEARCHED.settings, best_of=1))  # which is done once for all terms here
OPTIMIZED = replace(PLAIN, preset=WITHOUT_SEARCH)


class WishesOwner(DemoOwner):
    """Samples the noises of a job's prompts, or optimizes them. ``first``: by place, what came of the jobs of noises."""

    def __init__(self, folder: Path, first: Mapping[int, Record] | None = None) -> None:
        super().__init__(self._work, folder)
        self.first = dict(first or {})

    def bring(self, place: str) -> None:
        super().bring(place)
        self.terms = terms()

    def _work(self, _: Demo, job: Job) -> Record:
        return self.noises(job) if job.method == NOISES else self.optimized(job, self.first[job.place])

    def noises(self, job: Job) -> Record:
        """Every noise of the job's prompts: measured, judged, and which is the best in each way."""
        images = [self._sample(job, self.demo.noise(job.prompts, number)) for number in range(BEST_OF)]
        alone = self._losses(list(self.terms.values()), images)
        (clip,) = self._losses([self._clip(job)], images)
        chosen = {}
        for (name, term), losses in zip(self.terms.items(), alone, strict=True):
            norms_of = norms([_gradient(each, images[0]) for each in (self._clip(job), term)], images[0])
            for way in WAYS:
                score = losses
                if way != ALONE:
                    factors = balanced(torch.tensor([1.0, SHARES[way]], dtype=torch.float64), norms_of).to(losses)
                    score = factors[0][:, None] * clip + factors[1][:, None] * losses
                chosen[f"{name}, {way}"] = [score[:, :count].argmin(1).tolist() for count in (SEARCHED.settings.best_of, BEST_OF)]
        return {
            "measured": {name: losses.tolist() for name, losses in zip(self.terms, alone, strict=True)},
            "right": torch.tensor([self._right(each, job) for each in images]).T.tolist(),
            "chosen": chosen,
            "files": {f"images/{job.key}.png": png_of(images)},
        }

    def optimized(self, job: Job, first: Record) -> Record:
        """The prompts optimized for one term in one way, from the best of the noises that the preset searches."""
        name, way = job.method.split(", ", 1)
        chosen = zip(job.prompts, first["chosen"][job.method][0], strict=True)
        noise = torch.cat([self.demo.noise([text], number) for text, number in chosen])
        images, _ = self.demo.optimized(OPTIMIZED, job.prompts, job.seed, noise, self._objective(name, way, job))
        with torch.no_grad():
            measured = {each: term(images, Context(batch_size=len(images))).losses.tolist() for each, term in self.terms.items()}
        return {"measured": measured, "right": self._right(images, job), "files": {f"images/{job.key}.png": png_of([images])}}

    def _objective(self, name: str, way: str, job: Job) -> Objective:
        if way == ALONE:
            return self.terms[name]
        return WeightedSum([(1.0, self._clip(job)), (SHARES[way], self.terms[name])], BALANCES[1])

    def _clip(self, job: Job) -> Objective:
        return SaliencyCLIPLoss(self.demo.reward, job.prompts, settings=LossSettings(w_salient=0.0))

    @staticmethod
    @torch.no_grad()
    def _losses(objectives: Sequence[Objective], images: list[Tensor]) -> list[Tensor]:
        """``(prompts, noises)`` of each objective; all of them look at one noise's images before the next, so that they share maps."""
        rows = [[each(some, Context(batch_size=len(some))).losses.float() for each in objectives] for some in images]
        return [torch.stack(column, dim=1) for column in zip(*rows, strict=True)]

    def _right(self, images: Tensor, job: Job) -> list[bool]:
        return [verdict.right for verdict in judge_images(self.demo.judge, images, list(job.prompts))]

    @torch.no_grad()
    def _sample(self, job: Job, noise: Tensor) -> Tensor:
        return self.demo.images(PLAIN, comfy.samplers.sampler_object(PLAIN.sampler), job.prompts, noise, job.seed)


def pairs_of(records: Sequence[Record], method: str) -> list[tuple[Record, Record]]:
    """Of each chunk of prompts what came of its noises, and of a method."""
    noises = {record["place"]: record for record in records if record["method"] == NOISES}
    return [(noises[record["place"]], record) for record in records if record["method"] == method]


def _gradient(objective: Objective, images: Tensor) -> Tensor | None:
    with torch.inference_mode(False), torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        losses = objective(leaf, Context(batch_size=len(leaf))).losses
        return torch.autograd.grad(losses.sum(), leaf)[0] if losses.requires_grad else None
