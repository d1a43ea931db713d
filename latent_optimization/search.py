"""Starting from the best of several noises: the cheapest optimization there is, and the baseline of every other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .per_image import norms, spread
from .random_streams import Streams, draw_normal
from .recorder import Recorder
from .regularizers import WhiteNoise
from .score import Score
from .scoring import Scorer
from .settings import Settings
from .top_k import TopK

# White noise scores 1.5 on average (scaled to unit variance), and 12 once in 20 000 draws: what is above this was made on purpose.
MOST_COLORED = 20.0
# Fewer numbers than this say nothing about their color.
FEWEST_ELEMENTS = 64
# In standard deviations of the root mean square of white noise: what is farther from 1 was scaled on purpose.
SCALED = 6.0


@dataclass(frozen=True)
class Start:
    """Where each image starts.

    Attributes:
        noise: ``(B, ...)``. latent: what the sampler made of it.
        scores: the objective's of each image.
        candidate: which noise each image has; 0 is the one that was given.
    """

    noise: Tensor
    latent: Tensor
    scores: list[Score]
    candidate: list[int]


def search(
    noise: Tensor,
    sample: Callable[[Tensor], Tensor],
    *,
    scorer: Scorer,
    settings: Settings,
    streams: Sequence[Streams],
    recorder: Recorder,
    on_given: Callable[[Tensor], None] | None = None,
    at_once: Callable[[], int] | None = None,
    top: TopK | None = None,
) -> tuple[Start, list[str]]:
    """The noise of the lowest loss for each image, among the given ``noise (B, ...)`` and ``best_of - 1`` fresh ones of its scale.

    An image whose noise is not white keeps it: it was made on purpose (an inverted image, no noise at all), and another would not do.

    Args:
        noise: candidate 0.
        sample: noise to latent, for the whole batch, or for ``at_once()`` times as many, one candidate of the whole batch after another.
        scorer: scores each image's latent.
        settings: how many candidates, and how they are scored.
        streams: of each image; candidates after the first are drawn from ``candidates`` in order.
        recorder: told of each candidate.
        on_given: told of the latent of the given noise.
        at_once: how many of the next candidates are sampled together; ``None`` for one.
        top: shown every candidate.

    Returns:
        The start (the earliest of equals; a loss that is not finite never wins over one that is), and sentences for the user.
    """
    reasons = [_why_not(each) for each in noise]
    searched = [reason is None for reason in reasons]

    def scored(number: int, candidate: Tensor, latent: Tensor, wanted: list[bool]) -> list[Score]:
        scores = scorer.score_candidate(latent, wanted, settings.search_augmented)
        if top is not None:
            top.searched(number, candidate, latent, wanted, None if settings.search_augmented else scores)
        recorder.candidate(number, scores)
        return scores

    def drawn() -> Tensor:
        fresh = scale * draw_normal([each.candidates for each in streams], noise)
        return torch.where(spread(searched, noise), fresh, noise)

    with torch.no_grad():
        latent = sample(noise)
    best = Start(noise, latent, scored(0, noise, latent, [True] * len(noise)), [0] * len(noise))
    if on_given is not None:
        on_given(latent)
    scale = _scale(noise)
    for number, candidate, latent in _sampled(settings.best_of if any(searched) else 1, drawn, sample, at_once or (lambda: 1)):
        scores = scored(number, candidate, latent, searched)
        wins = [wanted and _rank(new) < _rank(old) for wanted, new, old in zip(searched, scores, best.scores, strict=True)]
        best = Start(
            torch.where(spread(wins, noise), candidate, best.noise),
            torch.where(spread(wins, latent), latent, best.latent),
            [new if better else old for better, new, old in zip(wins, scores, best.scores, strict=True)],
            [number if better else old for better, old in zip(wins, best.candidate, strict=True)],
        )
    if not any(searched):
        recorder.search_is_over()
    recorder.history.started_from = best.candidate
    said = [f"Image {index}: {reason}, so no other noises were tried." for index, reason in enumerate(reasons, start=1) if reason]
    return best, said


def _sampled(
    end: int, drawn: Callable[[], Tensor], sample: Callable[[Tensor], Tensor], at_once: Callable[[], int]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Candidates from number 1 on, each with its noise and its latent."""
    number = 1
    while number < end:
        candidates = [drawn() for _ in range(min(end - number, max(1, at_once())))]
        with torch.no_grad():
            latents = sample(torch.cat(candidates)).split(len(candidates[0]))
        yield from zip(itertools.count(number), candidates, latents, strict=False)
        number += len(candidates)


def _rank(score: Score) -> float:
    return score.loss if math.isfinite(score.loss) else math.inf


def _why_not(noise: Tensor) -> str | None:
    """Why an image's noise (without batch dimension) may not be replaced by a fresh one, or ``None``."""
    one = noise.detach()[None].to(torch.promote_types(noise.dtype, torch.float32))
    rms = float(norms(one)) / one.numel() ** 0.5
    if rms == 0:
        return "it was given no noise (Disable Noise)"
    if one.numel() >= FEWEST_ELEMENTS and not float(WhiteNoise()(one / rms)) < MOST_COLORED:
        return "its noise is not white, as that of an inverted image"
    return None


def _scale(noise: Tensor) -> Tensor:
    """The standard deviation that each image's fresh noises have, to broadcast against ``noise``: 1, or what somebody scaled it to."""
    elements = noise[0].numel()
    rms = norms(noise) / elements**0.5
    ordinary = (rms - 1).abs() < SCALED / (2 * elements) ** 0.5
    return spread(torch.where(ordinary, torch.ones_like(rms), rms), noise)
