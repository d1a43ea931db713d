"""One process of the benchmark: holds the demo model and runs methods on chunks of prompts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import comfy.samplers
import numpy as np
import torch
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.comfy_bridge.saliency import SaliencyPredictor
from sgool.comfy_bridge.scorers import load_scorer
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.demo import loader
from sgool.demo.judging import judge_images
from sgool.guidance.objective import Context, Objective, Scored, WeightedSum
from sgool.guidance.saliency_clip_loss import SaliencyCLIPLoss
from sgool.latent_optimization.reversible import EDICT
from sgool.saliency_models import registry
from torch import Tensor

from .methods import NONE, RANDOM, SEGMENTER, Method
from .prompts import Prompt
from .segmenter import load_segmenter
from .trials import Attending, Contrast
from .zero_order import ZeroOrder

CHANNELS, SIDE = 16, 8


@dataclass
class Recording:
    """An objective that keeps the images of each iteration, to be judged afterwards."""

    inner: Objective
    seen: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def begin(self) -> None:
        self.inner.begin()

    def __call__(self, images: Tensor, context: Context) -> Scored:
        if images.requires_grad:
            for index, image in zip(context.positions(len(images)), images.detach(), strict=True):
                self.seen[context.iteration, index] = image.cpu().clone()
        return self.inner(images, context)


class Worker:
    """The demo model, its judge, and the saliency maps that methods ask for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.clip, self.vae = loader.load_model(), loader.load_clip(), loader.load_vae()
        self.scorer = load_scorer(loader.scorer_folder())
        self.judge = loader.load_judge()
        self.negative = self._encode([""])

    @torch.no_grad()
    def run(self, method: Method, prompts: Sequence[Prompt], first: int) -> tuple[list[dict[str, Any]], np.ndarray]:
        """Rows and images (n, 3, 64, 64) uint8, one for each prompt; ``first`` is the place of the first one in the whole list.

        A prompt's noise and augmentations follow from its own seed and place, not from the chunk that it is in.
        """
        texts = [prompt.text for prompt in prompts]
        objective = Recording(self._objective(method, prompts))
        sampler = SGOOLSampler(self._sampler(method), objective, self.vae, method.settings)
        began = time.process_time()
        if method.zero_order:
            search = ZeroOrder(method.zero_order, lambda noise: self._images(method, self._sampler(method), texts, noise, first), objective)
            images = search.run(self._noise(prompts), first)
            evaluations = float((method.zero_order + 1) * method.steps)
        else:
            noise = self._searched(method, objective, texts, self._noise(prompts), first)
            images = self._images(method, sampler, texts, noise, first)
            evaluations = self._evaluations(method, sampler) + method.search * method.search_steps
        seconds = (time.process_time() - began) / len(prompts)
        similarity = self._similarity(images, texts)
        verdicts = judge_images(self.judge, images, texts)
        rows = [
            {"prompt": p.text, "kind": p.kind, "right": v.right, "objects": v.objects, "count": v.count, "relation": v.relation}
            | {"similarity": s, "evaluations": evaluations, "seconds": seconds}
            for p, v, s in zip(prompts, verdicts, similarity, strict=True)
        ]
        for row, path in zip(rows, self._trajectories(objective, texts), strict=True):
            row["path"] = path
        return rows, (images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()

    def _searched(self, method: Method, objective: Objective, texts: Sequence[str], noise: Tensor, first: int) -> Tensor:
        """The best of ``method.search`` noises by what they give in few steps."""
        if not method.search:
            return noise
        coarse = SGOOLSampler(self._sampler(method), objective, self.vae, replace(method.settings, iterations=0, best_of=method.search))
        self._images(replace(method, steps=method.search_steps), coarse, texts, noise, first)
        assert coarse.outcome is not None
        return coarse.outcome.noise

    def _sampler(self, method: Method) -> Any:
        return ReversibleSampler(EDICT()) if method.sampler == "EDICT" else comfy.samplers.sampler_object(method.sampler)

    def _images(self, method: Method, sampler: Any, texts: Sequence[str], noise: Tensor, first: int) -> Tensor:
        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(self._encode(texts), self.negative)
        guider.set_cfg(method.cfg)
        sigmas = comfy.samplers.calculate_sigmas(self.model.get_model_object("model_sampling"), method.scheduler, method.steps)
        latent = guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=first)
        return self.vae.decode(latent).movedim(-1, 1).float()

    def _encode(self, texts: Sequence[str]) -> Any:
        """One conditioning whose rows are the prompts, so that each image of a batch has its own."""
        rows = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0] for text in texts]
        return [
            [torch.cat([row[0] for row in rows]), {**rows[0][1], "pooled_output": torch.cat([row[1]["pooled_output"] for row in rows])}]
        ]

    def _noise(self, prompts: Sequence[Prompt]) -> Tensor:
        return torch.stack([torch.randn((CHANNELS, SIDE, SIDE), generator=torch.Generator().manual_seed(p.seed)) for p in prompts])

    def _objective(self, method: Method, prompts: Sequence[Prompt]) -> Objective:
        texts = [p.text for p in prompts]
        saliency: Any = None if method.saliency == NONE else self._saliency(method.saliency, prompts)
        in_loss = saliency if method.loss.w_salient else None
        terms: list[tuple[float, Objective]] = [(1.0, SaliencyCLIPLoss(self.scorer, texts, saliency=in_loss, settings=method.loss))]
        if method.near_misses:
            terms.append((method.near_misses, Contrast(self.scorer, texts, method.loss.augmentations)))
        if method.attending:
            terms.append((method.attending, Attending(self.scorer, texts, saliency, method.loss.augmentations)))
        return WeightedSum(terms)

    def _saliency(self, name: str, prompts: Sequence[Prompt]) -> Any:
        if name == SEGMENTER:
            return load_segmenter(self.folder)
        if name == RANDOM:
            return torch.cat([random_map(prompt.seed) for prompt in prompts])
        return SaliencyPredictor(registry.load(name))

    def _evaluations(self, method: Method, sampler: SGOOLSampler) -> float:
        """Model evaluations of an image: a forward counts one, a backward two. The run that hands over the result is not counted."""
        if not sampler.optimizes or sampler.outcome is None:
            return float(method.steps * (2 if method.sampler == "EDICT" else 1))  # EDICT calls the model for each of its pair
        cost = sampler.outcome.history.cost
        calls = (cost.model_calls or 0) / max(1, cost.sampler_runs)
        schedule = method.settings.jacobian
        carrying = {"all": calls, "last": min(calls, schedule.count), "every": calls / max(1, schedule.count)}[schedule.choice]
        return cost.sampler_runs * calls + 2 * cost.sampler_backwards * carrying

    def _similarity(self, images: Tensor, texts: Sequence[str]) -> list[float]:
        return [float(x) for x in (self.scorer.encode_image(images) * self.scorer.encode_text(list(texts))).sum(1)]

    def _trajectories(self, objective: Recording, texts: Sequence[str]) -> list[list[tuple[float, bool]]]:
        """For each prompt, similarity and verdict of the image of every iteration."""
        paths: list[list[tuple[float, bool]]] = [[] for _ in texts]
        for iteration, index in sorted(objective.seen):
            image = objective.seen[iteration, index][None]
            verdict = judge_images(self.judge, image, [texts[index]])[0]
            paths[index].append((self._similarity(image, [texts[index]])[0], verdict.right))
        return paths


def random_map(seed: int) -> Tensor:
    """A smooth map (1, 1, 64, 64) in [0, 1] that has nothing to do with any image."""
    coarse = torch.rand((1, 1, 5, 5), generator=torch.Generator().manual_seed(seed + 1))
    smooth = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic", align_corners=True)
    low, high = smooth.amin(), smooth.amax()
    return (smooth - low) / (high - low)


__all__ = ["Recording", "Worker", "random_map"]
