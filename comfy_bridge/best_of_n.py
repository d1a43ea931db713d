"""Sample several seeds, score their images, keep the best: the seeds are such that a plain sampler makes each of them again."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..guidance.objective import Context, Objective
from ..image_ops.contact_sheet import contact_sheet
from ..latent_optimization.candidates import Candidate, Ranking, captions_of, halving_plan, steps_of, thumbnail
from ..latent_optimization.frames import Frames
from ..latent_optimization.status import duration, time_left
from ..latent_optimization.work import Ticks
from .decoding_steps import told_of_blocks
from .frame_scores import mean_over_frames
from .layout import from_image
from .plain_runs import PlainRun
from .preview import to_preview
from .progress import Bar, Draw, Text
from .resumable import LeftOff, Resumable
from .sgool_sampler import SGOOLSampler

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
        return contact_sheet([each.thumbnail for each in candidates], captions_of(candidates), marked=self.keep)


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
        ValueError: without objective, with a VAE of another model or none, or where more is to be kept than is made.
    """
    if objective is None:
        raise ValueError(NO_OBJECTIVE)
    run.check_decoder(vae)
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
        self._draw: Draw | None = None
        self._done, self._whole, self._from = 0.0, 1, 0.0
        self._text, self._doing = Text(), ""
        self._decoding = Ticks(1.0, self._moved)

    def search(self, seeds: list[int], halving: bool) -> Best:
        steps, made, messages = self._run.steps, 0, list[str]()
        plan = halving_plan(len(seeds), steps, -(-self._keep // self._run.batch)) if halving else []
        if plan and isinstance(self._run.sampler, SGOOLSampler):
            plan, messages = [], [OPTIMIZES]
        self._bar = Bar(steps_of(len(seeds), steps, plan))
        self._expect(len(seeds), plan)
        runs = self._runs(seeds, bool(plan))
        if plan:
            first = runs[seeds[0]]
            self._left_off(seeds[0], first, plan[0][0])  # what it has done is not done again
            if first.remembering:
                messages = [REMEMBERS.format(names=", ".join(sorted(first.remembering)))]
                made, plan, runs = first.steps, [], self._runs(seeds, False)
                self._expect(len(seeds), plan)
        left, dropped = self._halved(runs, plan)
        finished = [each for seed in left for each in self._finished(seed, runs[seed])]
        made += sum(run.steps for run in runs.values())
        ranking = Ranking.of([*finished, *dropped], made, len(seeds) * steps if plan else made, messages)
        for message in ranking.messages:
            logging.info("SGOOL Best of N: %s", message)
        return self._gathered(ranking)

    def _runs(self, seeds: list[int], keep_answers: bool) -> dict[int, Resumable]:
        return {seed: Resumable(self._run.sampler, keep_answers=keep_answers) for seed in seeds}

    def _halved(self, runs: dict[int, Resumable], plan: list[tuple[int, int]]) -> tuple[list[int], list[Candidate]]:
        """The seeds that are to be finished, and what the others looked like when they were dropped."""
        left, dropped = list(runs), list[Candidate]()
        for until, kept in plan:
            scored = {seed: self._scored(seed, self._left_off(seed, runs[seed], until)) for seed in left}
            ranked = sorted(left, key=lambda seed: min(each.key for each in scored[seed]))
            left = ranked[:kept]
            for seed in ranked[kept:]:
                dropped += [replace(each, dropped_at=until) for each in scored[seed]]
                runs[seed].forget()
        return left, dropped

    def _left_off(self, seed: int, run: Resumable, until: int) -> Tensor:
        """What the model takes for the clean latent after some steps, as a LATENT has it."""
        run.until = until
        try:
            return self._sampled(seed, run)
        except LeftOff:
            assert run.estimate is not None
            return self._run.decodable(run.estimate)

    def _finished(self, seed: int, run: Resumable) -> list[Candidate]:
        run.until = None
        samples = self._sampled(seed, run)
        run.forget()
        candidates = zip(self._scored(seed, samples), self._run.entries(samples), strict=True)
        return [replace(each, samples=entry) for each, entry in candidates]

    def _sampled(self, seed: int, run: Resumable) -> Tensor:
        """The run's samples. A bar that the sampler makes for itself is its part of this one's."""
        self._doing = f"Seed {seed}"
        end = self._done + (run.until or self._run.steps) - run.steps
        try:
            with self._bar.part(self._share(self._done), self._share(end)):
                return self._run.sample(seed, run, self._callback)
        finally:
            self._done = end  # an SGOOL Sampler tells of its last step alone

    def _expect(self, seeds: int, plan: list[tuple[int, int]]) -> None:
        """From here to the bar's end there are so many seeds. A look, which is a decode and a score, counts as a step."""
        self._from = self._share(self._done)
        looks = sum([seeds, *(kept for _, kept in plan)]) * self._run.batch + self._keep  # those kept are decoded once more
        self._done, self._whole = 0.0, steps_of(seeds, self._run.steps, plan) + looks

    def _share(self, done: float) -> float:
        return self._from + (1 - self._from) * done / self._whole

    def _moved(self, done: float) -> None:
        self._done += done
        if self._bar.to(self._share(self._done), self._draw):
            self._draw = None
        self._text.say(lambda: self._said(time_left(self._share(self._done), self._text.seconds)))

    def _said(self, time: str) -> str:
        best = [] if self._best is None else [f"best score {self._best[0]:.4g}"]
        return "\n".join([f"{self._doing}, {time}", *best])

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
                self._draw = partial(to_preview, [[self._best[1]]])
            self._decoding.ends()
            self._moved(0)
        return found

    def _images(self, samples: Tensor) -> Tensor:
        """The images ``(n, 3, H, W)`` that are scored: of a video some of its frames."""
        decoded = self._decoded(samples)
        return from_image(decoded[Frames().numbers(len(decoded))], finite=False).float()

    def _decoded(self, samples: Tensor) -> Tensor:
        """IMAGE of one image's latent, or of one video's, through core's own decode."""
        with told_of_blocks(self._vae, self._decoding.tick):
            images: Tensor = self._vae.decode(samples)
        return images.reshape(-1, *images.shape[-3:])

    def _callback(self, _step: int, _denoised: Tensor, _x: Tensor, _steps: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._moved(1)

    def _gathered(self, ranking: Ranking) -> Best:
        kept = ranking.candidates[: self._keep]
        latent = self._run.joined([(each.place, each.samples) for each in kept])
        images = list[Tensor]()
        for each in kept:
            comfy.model_management.throw_exception_if_processing_interrupted()
            images.append(self._decoded(each.samples)[..., :3])
            self._decoding.ends()
        self._bar.to(1.0, self._draw)
        self._doing = "Done"
        self._text.say(lambda: self._said(f"took {duration(self._text.seconds)}"), now=True)
        return Best(latent, torch.cat(images), ranking, self._keep)
