"""What a run writes down while it goes on: the history, what it cost, and whom to tell. The loop itself keeps no books."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .batch import Batch
from .history import Cost, History, Rescored, Row, TriedNoise
from .per_image import norms
from .score import Score
from .settings import Settings
from .steps import Steps
from .trust_region import StepVerdict

Generate = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Progress:
    """What ``on_progress`` is told after each candidate, iteration and rescoring.

    Attributes:
        phase: ``"search"`` (best of several noises), ``"optimize"`` or ``"rescore"``.
        iteration: number of the candidate, of the iteration (up to and including the last), or of the iterate that was rescored.
        losses: for each image; NaN for one that was not scored.
    """

    phase: str
    iteration: int
    losses: list[float]


class Recorder:
    """Counts what the loop calls and writes down what comes of it.

    Args:
        on_progress: told of every candidate, iteration and rescoring; what it raises ends the run and passes through. No graph is alive
            when it is called.
        count_model_calls: returns how often the diffusion model was called so far.
    """

    def __init__(self, on_progress: Callable[[Progress], None] | None = None, count_model_calls: Callable[[], int] | None = None) -> None:
        self._on_progress = on_progress
        self._count_model_calls = count_model_calls

    def begin(self, noise: Tensor, settings: Settings) -> None:
        """Start a history for a run on ``noise (B, ...)``."""
        self._began = time.monotonic()
        self._settings = settings
        self._cost = Cost()
        self._batch = len(noise)
        self.history = History(len(noise), noise[0].numel(), settings.to_dict(), started_from=[0] * len(noise))

    def counted(self, generate: Generate, dtype: torch.dtype) -> Generate:
        """``generate``, counted, given noise of ``dtype`` (a copy of its own), and held to the batch size."""

        def sample(noise: Tensor) -> Tensor:
            latent = generate(noise.to(dtype, copy=True))
            self._cost.sampler_runs += len(noise) // self._batch  # several where a search samples several noises of each image at once
            if latent.ndim < 1 or len(latent) != len(noise):
                shape = tuple(latent.shape)
                raise ValueError(f"The sampler returned a latent of shape {shape} for a batch of {len(noise)}. Take another sampler.")
            return latent

        return sample

    def differentiated(self, done: bool) -> None:
        """Whether a gradient was taken through the sampler."""
        self._cost.sampler_backwards += done

    def evaluated(self) -> None:
        """The objective scored one image."""
        self._cost.evaluations += 1

    def candidate(self, number: int, scores: Sequence[Score]) -> None:
        """A noise of the search was sampled and scored."""
        losses = [score.loss for score in scores]
        self.history.candidates.append(TriedNoise(number, losses, self.cost()))
        self._tell("search", number, losses)

    def search_is_over(self) -> None:
        """No more noises are tried, though more were expected."""
        self._tell("search", self._settings.best_of - 1, self.history.candidates[-1].loss)

    def iteration(
        self,
        iteration: int,
        noise: Tensor,
        scores: Sequence[Score],
        active: Sequence[bool],
        good: Sequence[bool],
        *,
        steps: Steps,
        verdict: StepVerdict,
        gradient: Tensor | None = None,
        regularizer: Sequence[float] | None = None,
    ) -> None:
        """An iteration is over; without a gradient nothing was stepped.

        ``active``: as it began; ``good``: finite; ``verdict``: of the step that led here.
        """
        stepped = gradient is not None
        row = Row(
            iteration=iteration,
            loss=[score.loss for score in scores],
            parts=_columns(scores),
            regularizer=_where(active, regularizer),
            gradient_norm=_where(active, norms(gradient).tolist() if gradient is not None else None),
            step_norm=_where(steps.changed if stepped else active, norms(steps.noise - noise).tolist() if stepped else None),
            noise_norm=norms(noise).tolist(),
            step_factor=list(steps.factors),
            predicted_fall=list(steps.predicted) if stepped else [math.nan] * len(noise),
            fall=list(verdict.fall),
            rejected=list(verdict.rejected),
            active=list(active),
            finite=list(good),
            cost=self.cost(),
        )
        self.history.rows.append(row)
        self._tell("optimize", iteration, row.loss)

    def rescored(self, image: int, iteration: int, loss: float) -> None:
        """An iterate of one image was scored with fresh augmentations."""
        self.history.rescored.append(Rescored(image, iteration, loss, self.cost()))
        self._tell("rescore", iteration, [loss if index == image else math.nan for index in range(self._batch)])

    def end(self, batch: Batch, returned: list[int]) -> History:
        """The finished history."""
        self.history.stopped = [image.stopped for image in batch.images]
        self.history.returned_iteration, self.history.cost = returned, self.cost()
        return self.history

    def cost(self) -> Cost:
        """What was spent so far."""
        calls = self._count_model_calls() if self._count_model_calls is not None else None
        cost = self._cost
        return Cost(cost.sampler_runs, cost.sampler_backwards, cost.evaluations, calls, time.monotonic() - self._began)

    def _tell(self, phase: str, iteration: int, losses: list[float]) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(phase, iteration, losses))


def _where(mask: Sequence[bool], values: Sequence[float] | None) -> list[float]:
    return [value if keep else math.nan for keep, value in zip(mask, values or [math.nan] * len(mask), strict=True)]


def _columns(scores: Sequence[Score]) -> dict[str, list[float]]:
    """Parts by name, one number per image, NaN where an image has none."""
    names = dict.fromkeys(name for score in scores for name in score.parts)
    return {name: [score.parts.get(name, math.nan) for score in scores] for name in names}
