"""Sample several seeds, score their images, keep the best: the seeds are such that a plain sampler makes each of them again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ..guidance.objective import Context, Objective
from ..image_ops.contact_sheet import contact_sheet
from ..latent_optimization.candidates import Candidate, Ranking, rungs, thumbnail
from ..latent_optimization.frames import Frames
from .frame_scores import mean_over_frames
from .plain_runs import PlainRun
from .preview import to_preview
from .resumable import LeftOff, Resumable
from .sgool_sampler import SGOOLSampler
from .vae import NO_VAE

SEEDS = 1 << 64
NO_OBJECTIVE = "There is no objective to choose by (none is connected, or its node is bypassed): connect one, such as Saliency CLIP Loss."
OPTIMIZES = "An SGOOL Sampler cannot be left off in the middle: every seed was optimized to its end."
REMEMBERS = (
    "The model keeps something from one call to the next ({names}), so that a run cannot be left off and taken up again: every seed was "
    "sampled to its end."
)


@dataclass
class Best:
    """The best of all seeds.

    Attributes:
        latent: LATENT with the images kept, the best first.
        images: IMAGE ``(k, H, W, 3)``; of videos all frames, one video after another.
        ranking: of all candidates.
        keep: how many were kept.
    """

    latent: dict[str, Any]
    images: Tensor
    ranking: Ranking
    keep: int

    @property
    def kept(self) -> list[Candidate]:
        """Those in ``latent``."""
        return self.ranking.candidates[: self.keep]

    def sheet(self) -> Tensor:
        """All candidates with rank, score and seed, as an IMAGE."""
        candidates = self.ranking.candidates
        several = len({each.place for each in candidates}) > 1
        captions = []
        for rank, each in enumerate(candidates, start=1):
            score = f"{each.score:.4f}" if math.isfinite(each.score) else "no score"
            dropped = f", dropped after step {each.dropped_at}" if each.dropped_at else ""
            captions.append([f"{rank}.  {score}{dropped}", f"seed {each.seed}" + (f", image {each.place + 1}" if several else "")])
        return contact_sheet([each.thumbnail for each in candidates], captions, marked=self.keep)


def best_of_n(run: PlainRun, *, seed: int, seeds: int, keep: int, halving: bool, objective: Objective | None, vae: Any) -> Best:
    """Sample ``seeds`` seeds, ``seed`` and those that follow it, and keep the ``keep`` images that the objective likes best.

    Args:
        run: samples one seed, as core's node does.
        seed: the first.
        seeds: how many. Each makes as many images as the latent's batch holds.
        keep: how many images are kept.
        halving: after a quarter and after half of the steps, score what the model then takes for the image, and go on with the better
            half of the seeds, but never with fewer than ``keep``. A seed is as good as its best image.
        objective: its loss is the score's negative; asked without augmentations.
        vae: decodes latents.

    Raises:
        ValueError: without objective or VAE, or where more is to be kept than is made.
    """
    if objective is None:
        raise ValueError(NO_OBJECTIVE)
    if vae is None:
        raise ValueError(NO_VAE)
    made = seeds * run.batch
    if keep > made:
        raise ValueError(f"{keep} images are to be kept of the {made} that {seeds} seeds make; keep fewer, or try more seeds.")
    objective.begin()
    try:
        return _Search(run, objective, vae, keep).search([(seed + number) % SEEDS for number in range(seeds)], halving)
    finally:
        objective.begin()


class _Search:
    """One search: the runs under way and what is known of them."""

    def __init__(self, run: PlainRun, objective: Objective, vae: Any, keep: int) -> None:
        self._run, self._objective, self._vae, self._keep = run, objective, vae, keep
        self._best: tuple[float, Tensor] | None = None
        self._done = 0

    def search(self, seeds: list[int], halving: bool) -> Best:
        steps, messages = self._run.steps, list[str]()
        if halving and isinstance(self._run.sampler, SGOOLSampler):
            halving, messages = False, [OPTIMIZES]
        self._bar, self._total = comfy.utils.ProgressBar(len(seeds) * steps), len(seeds) * steps
        samplers = {seed: Resumable(self._run.sampler, keep_answers=halving) for seed in seeds}
        dropped: list[Candidate] = []
        left = list(seeds)
        for until in rungs(steps) if halving else []:
            scored = {seed: self._tried(seed, samplers[seed], until) for seed in left}
            remembering = sorted({name for seed in left for name in samplers[seed].remembering})
            if remembering:
                messages.append(REMEMBERS.format(names=", ".join(remembering)))
                samplers = {seed: Resumable(self._run.sampler, keep_answers=False) for seed in seeds}
                break
            left, lost = self._better_half(left, scored)
            dropped += [replace(each, dropped_at=until) for seed in lost for each in scored[seed]]
            for seed in lost:
                samplers[seed].forget()
        finished = [each for seed in left for each in self._finished(seed, samplers[seed])]
        made = sum(sampler.steps for sampler in samplers.values())
        ranking = Ranking.of([*finished, *dropped], made, len(seeds) * steps, messages)
        for message in ranking.messages:
            logging.info("SGOOL Best of N: %s", message)
        return self._gathered(ranking)

    def _tried(self, seed: int, sampler: Resumable, until: int) -> list[Candidate]:
        """The candidates of a seed after some steps."""
        sampler.until = until
        try:
            samples = self._run.sample(seed, sampler, self._callback())
        except LeftOff:
            assert sampler.estimate is not None
            samples = self._run.decodable(sampler.estimate)
        return self._scored(seed, samples)

    def _finished(self, seed: int, sampler: Resumable) -> list[Candidate]:
        sampler.until = None
        samples = self._run.sample(seed, sampler, self._callback())
        sampler.forget()
        return [
            replace(each, samples=samples) for each, samples in zip(self._scored(seed, samples), self._run.entries(samples), strict=True)
        ]

    def _better_half(self, seeds: list[int], scored: dict[int, list[Candidate]]) -> tuple[list[int], list[int]]:
        needed = -(-self._keep // self._run.batch)
        ranked = sorted(seeds, key=lambda seed: min(each.key for each in scored[seed]))
        kept = max(needed, -(-len(seeds) // 2))
        return ranked[:kept], ranked[kept:]

    def _scored(self, seed: int, samples: Tensor) -> list[Candidate]:
        entries = self._run.entries(samples)
        found = []
        for place, entry in enumerate(entries):
            comfy.model_management.throw_exception_if_processing_interrupted()
            images = self._images(entry)
            context = Context(index=place, batch_size=len(entries))
            with torch.no_grad():
                score = -float(mean_over_frames(self._objective, images, context).losses[0])
            found.append(Candidate(seed, place, score, thumbnail(images[len(images) // 2])))
            if math.isfinite(score) and (self._best is None or score > self._best[0]):
                self._best = score, found[-1].thumbnail
        return found

    def _images(self, samples: Tensor) -> Tensor:
        """The images ``(n, 3, H, W)`` that are scored: of a video some of its frames."""
        decoded = _decoded(self._vae, samples)
        numbers = Frames().numbers(len(decoded)) if len(decoded) > 1 else [0]
        return decoded[numbers][..., :3].movedim(-1, 1).float()

    def _callback(self) -> Callable[..., None]:
        def callback(step: int, _denoised: Tensor, _x: Tensor, _total: int) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            self._done += 1
            preview = None if self._best is None else to_preview([self._best[1]])
            self._bar.update_absolute(self._done, self._total, preview)

        return callback

    def _gathered(self, ranking: Ranking) -> Best:
        kept = ranking.candidates[: self._keep]
        latent = self._run.joined([(each.place, each.samples) for each in kept])
        images = torch.cat([_decoded(self._vae, each.samples) for each in kept])[..., :3]
        self._bar.update_absolute(self._total, self._total)
        return Best(latent, images, ranking, self._keep)


def _decoded(vae: Any, samples: Tensor) -> Tensor:
    """IMAGE of one image's latent, or of one video's, through core's own decode."""
    images: Tensor = vae.decode(samples)
    return images.reshape(-1, *images.shape[-3:])
