"""The loop: noise to latent to loss, the gradient back to the noise, a step; for a batch of independent images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .best_of import choose_start
from .history import Candidate, Cost, History, Rescored, Row
from .iterates import Iterate, Iterates, gather
from .per_image import finite, norms
from .presets import Settings
from .random_streams import Streams
from .regularizers import penalty
from .results import Progress, Result
from .scoring import Evaluate, Score, Scorer
from .steps import Steps
from .stopping import Watch

Generate = Callable[[Tensor], Tensor]


class Run:
    """One call of ``optimize``: what changes from iteration to iteration, and the steps of it."""

    def __init__(
        self,
        noise: Tensor,
        generate: Generate,
        evaluate: Evaluate | None,
        settings: Settings,
        *,
        streams: list[Streams],
        on_iteration: Callable[[Progress], None] | None,
        count_model_calls: Callable[[], int] | None,
    ) -> None:
        self.settings = settings
        self.batch = len(noise)
        self.dtype = noise.dtype
        self.x = noise.detach().to(torch.promote_types(noise.dtype, torch.float32))
        self.generate = generate
        self.scorer = Scorer(evaluate) if evaluate is not None else None
        self.streams = streams
        self.on_iteration = on_iteration
        self.count_model_calls = count_model_calls
        self.began = time.monotonic()
        self.sampler_runs = 0
        self.sampler_backwards = 0
        self.history = History(self.batch, noise[0].numel(), settings.to_dict())
        self.steps: Steps | None = None
        self.active = [True] * self.batch
        self.stopped: list[str | None] = [None] * self.batch
        self.fallen_back = [False] * self.batch
        self.failed_at: list[list[int]] = [[] for _ in range(self.batch)]
        self.watches = [Watch(settings.stopping) for _ in range(self.batch)]
        self.iterates = [Iterates(keep_all=settings.returned == "rescored") for _ in range(self.batch)]

    def execute(self) -> Result:
        """Search, iterate, look at the last iterate, choose."""
        latent: Tensor | None = None
        losses = [math.nan] * self.batch
        self.history.chosen = [0] * self.batch
        if self.settings.best_of > 1:
            latent, losses = self._search()
        if self.settings.iterations == 0 and latent is not None:
            self._note(0, latent, [Score(loss, {}) for loss in losses])
        elif self.settings.iterations == 0:
            latent = self._look(0)
        else:
            latent = self._descend()
        return self._result(latent)

    # --- before the iterations

    def _search(self) -> tuple[Tensor, list[float]]:
        def attempt(number: int, noise: Tensor) -> tuple[Tensor, list[float]]:
            latent = self._sample(noise)
            losses = [score.loss for score in self._scores(latent, 0, self._search_generators(), with_gradient=False)]
            self.history.candidates.append(Candidate(number, losses, self._cost()))
            self._tell("search", number, noise, latent, losses)
            return latent, losses

        generators = [streams.candidates for streams in self.streams]
        self.x, latent, losses, self.history.chosen = choose_start(self.x, self.settings.best_of, generators, attempt)
        return latent, losses

    def _search_generators(self) -> list[torch.Generator | None]:
        """None, or the same augmentations for every candidate: compared by what is in the image, not by luck with the augmentations."""
        return [_copy(streams.augmentations) if self.settings.search_augmented else None for streams in self.streams]

    # --- the iterations

    def _descend(self) -> Tensor:
        settings = self.settings
        self.steps = Steps(self.x, settings.rule, settings.renormalize, self.streams)
        for iteration in range(settings.iterations):
            latent = self._iterate(iteration, self.steps)
            if not any(self.active):
                return latent
        return self._look(settings.iterations)

    def _iterate(self, iteration: int, steps: Steps) -> Tensor:
        before, was_active = self.x, list(self.active)
        scores, latent, gradient = self._gradients(iteration)
        noise_loss, noise_gradient = penalty(self.settings.regularizer, before)
        gradient = gradient + noise_gradient
        good = [score.finite and ok for score, ok in zip(scores, finite(gradient), strict=True)]
        self._remember(iteration, scores, latent)
        for index in range(self.batch):
            if was_active[index]:
                self._judge(index, iteration, scores[index].loss, good[index], steps)
        moving = [active and ok for active, ok in zip(self.active, good, strict=True)]
        retrying = [active and not ok for active, ok in zip(self.active, good, strict=True)]
        changed = steps.move(gradient, moving, retrying)
        for index, fallen in enumerate(self.fallen_back):
            if fallen:  # its own noise gave numbers that are not finite; the batch had better not see it again
                steps.put(index, self.iterates[index].best.noise)
        self.x = steps.noise
        row = Row(
            iteration=iteration,
            loss=[score.loss for score in scores],
            parts=_columns(scores),
            regularizer=_where(was_active, noise_loss),
            gradient_norm=_where(was_active, norms(gradient).tolist()),
            step_norm=_where(changed, norms(self.x - before).tolist()),
            noise_norm=norms(before).tolist(),
            step_factor=list(steps.factors),
            active=was_active,
            finite=good,
            cost=self._cost(),
        )
        self._record(row, before, latent)
        return latent

    def _gradients(self, iteration: int) -> tuple[list[Score], Tensor, Tensor]:
        """Scores of the active images, the latent, and the gradient in the noise: zero for images without a finite score."""
        generators = [streams.augmentations for streams in self.streams]
        with torch.inference_mode(False), torch.enable_grad():
            leaf = self.x.clone().requires_grad_()
            latent = self._checked(self.generate(leaf.to(self.dtype, copy=True)))
            if not latent.requires_grad:
                raise ValueError(
                    "What the sampler returns does not depend on its noise in a way that can be differentiated; "
                    "it has to be run with gradients. To sample without optimizing, set iterations to 0."
                )
            scores = self._scores(latent, iteration, generators, with_gradient=True)
            seeds = torch.zeros_like(latent)
            usable = [index for index, score in enumerate(scores) if score.finite and score.gradient is not None]
            for index in usable:
                seeds[index] = scores[index].gradient[0].to(seeds)  # type: ignore[index]
            gradient = None
            if usable:
                (gradient,) = torch.autograd.grad(latent, leaf, seeds, allow_unused=True)
                self.sampler_backwards += 1
        return scores, latent.detach(), torch.zeros_like(self.x) if gradient is None else gradient.detach()

    def _judge(self, index: int, iteration: int, loss: float, good: bool, steps: Steps) -> None:
        """Let the early stop see an iteration; halve the step size of an image that failed."""
        if good:
            reason = self.watches[index].saw(loss)
        else:
            reason = self.watches[index].failed()
            self.failed_at[index].append(iteration)
            self.fallen_back[index] = reason is not None
            steps.halve(index)
        if reason is not None:
            self.active[index] = False
            self.stopped[index] = f"{reason} (iteration {iteration})"

    # --- without gradient

    def _look(self, iteration: int) -> Tensor:
        """Sample once and score the active images."""
        latent = self._sample(self.x)
        generators = [streams.augmentations for streams in self.streams]
        self._note(iteration, latent, self._scores(latent, iteration, generators, with_gradient=False))
        return latent

    def _note(self, iteration: int, latent: Tensor, scores: list[Score]) -> None:
        self._remember(iteration, scores, latent)
        unknown = [math.nan] * self.batch
        good = [score.finite for score in scores]
        for index in range(self.batch):
            if self.scorer is not None and self.active[index] and not good[index]:
                self.failed_at[index].append(iteration)
        row = Row(
            iteration=iteration,
            loss=[score.loss for score in scores],
            parts=_columns(scores),
            regularizer=unknown,
            gradient_norm=unknown,
            step_norm=unknown,
            noise_norm=norms(self.x).tolist(),
            step_factor=list(self.steps.factors) if self.steps is not None else [1.0] * self.batch,
            active=list(self.active),
            finite=good,
            cost=self._cost(),
        )
        self._record(row, self.x, latent)

    def _sample(self, noise: Tensor) -> Tensor:
        with torch.no_grad():
            return self._checked(self.generate(noise.to(self.dtype, copy=True)))

    def _checked(self, latent: Tensor) -> Tensor:
        self.sampler_runs += 1
        if latent.ndim < 1 or len(latent) != self.batch:
            raise ValueError(f"The sampler returned a latent of shape {tuple(latent.shape)} for a batch of {self.batch}.")
        return latent

    def _scores(self, latent: Tensor, iteration: int, generators: Sequence[torch.Generator | None], *, with_gradient: bool) -> list[Score]:
        if self.scorer is None:
            return [Score() for _ in range(self.batch)]
        return [
            self.scorer.score(latent, index, iteration, generators[index], with_gradient=with_gradient) if self.active[index] else Score()
            for index in range(self.batch)
        ]

    def _remember(self, iteration: int, scores: list[Score], latent: Tensor) -> None:
        for index, score in enumerate(scores):
            if self.active[index]:
                self.iterates[index].add(iteration, score.loss, self.x[index], latent[index])

    # --- the choice

    def _result(self, latent: Tensor) -> Result:
        chosen = [self._choose(index, latent) for index in range(self.batch)]
        noises, latents = gather(chosen, self.x, latent)
        self.history.stopped = self.stopped
        self.history.returned_iteration = [iterate.iteration for iterate in chosen]
        self.history.cost = self._cost()
        return Result(
            noises.to(self.dtype),
            latents,
            self.history,
            torch.tensor([iterates.best.loss for iterates in self.iterates], dtype=torch.float64),
            torch.tensor(self.history.returned_iteration),
            self._messages(),
        )

    def _choose(self, index: int, latent: Tensor) -> Iterate:
        iterates = self.iterates[index]
        if self.settings.returned == "rescored" and len(iterates.shortlist(self.settings.rescoring_candidates)) > 1:
            return iterates.rescored(self.settings.rescoring_candidates, lambda iterate: self._rescore(index, iterate, latent))
        if self.settings.returned == "last" and not self.fallen_back[index]:
            return iterates.last
        return iterates.best

    def _rescore(self, index: int, iterate: Iterate, latent: Tensor) -> float:
        assert self.scorer is not None
        generator = _copy(self.streams[index].rescoring)  # the same augmentations for every iterate of an image
        whole = latent.clone()
        whole[index] = iterate.latent.to(latent)
        augmentations = range(self.settings.rescoring_augmentations)
        loss = sum(self.scorer.score(whole, index, 0, generator).loss for _ in augmentations) / len(augmentations)
        self.history.rescored.append(Rescored(index, iterate.iteration, loss, self._cost()))
        self._tell("rescore", iterate.iteration, self.x, latent, [loss if other == index else math.nan for other in range(self.batch)])
        return loss

    def _messages(self) -> list[str]:
        messages = []
        for index in range(self.batch):
            name, failed, reason = f"Image {index + 1}", self.failed_at[index], self.stopped[index]
            if failed and not math.isfinite(self.iterates[index].best.loss):
                messages.append(f"{name}: no finite loss was found, so its noise is returned as it was given.")
            elif failed and not self.fallen_back[index]:
                where = ", ".join(map(str, failed))
                messages.append(
                    f"{name}: the loss or gradient was not finite (iteration {where}); the step before was undone and further steps halved."
                )
            if reason is not None:
                messages.append(f"{name} stopped early: {reason}. Iteration {self.history.returned_iteration[index]} is returned.")
        return messages

    # --- bookkeeping

    def _cost(self) -> Cost:
        return Cost(
            self.sampler_runs,
            self.sampler_backwards,
            self.scorer.evaluations if self.scorer is not None else 0,
            self.count_model_calls() if self.count_model_calls is not None else None,
            time.monotonic() - self.began,
        )

    def _record(self, row: Row, noise: Tensor, latent: Tensor) -> None:
        self.history.rows.append(row)
        self._tell("optimize", row.iteration, noise, latent, row.loss)

    def _tell(self, phase: str, iteration: int, noise: Tensor, latent: Tensor, losses: list[float]) -> None:
        if self.on_iteration is None:
            return
        settings = self.settings
        searches = settings.best_of if settings.best_of > 1 else 0
        expected = searches + (settings.iterations + 1 if settings.iterations or not searches else 0)
        self.on_iteration(
            Progress(
                phase, iteration, settings.iterations, self.sampler_runs, expected, noise, latent, losses, list(self.active), self.history
            )
        )


def _copy(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().set_state(generator.get_state())


def _where(mask: list[bool], values: list[float]) -> list[float]:
    return [value if keep else math.nan for keep, value in zip(mask, values, strict=True)]


def _columns(scores: list[Score]) -> dict[str, list[float]]:
    """Parts by name, one number per image, NaN where an image has none."""
    names = dict.fromkeys(name for score in scores for name in (score.parts or {}))
    return {name: [(score.parts or {}).get(name, math.nan) for score in scores] for name in names}
