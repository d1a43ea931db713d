"""Candidates of a best of N: their order, how much they differ, and what there is to say about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..image_ops.resize import resize, shrink

THUMBNAIL = 256
SPREAD_SIDE = 32
# A guess of ours, until it is measured on distilled models. Of the demo model it is .18 to .27 (10 prompts, 8 seeds each, 8 steps, CFG 3).
ALIKE = 0.05
POINTLESS = (
    "The images of different seeds hardly differ ({spread:.3f} of the range at {side} x {side} pixels), as happens with distilled models: "
    "there is little to choose from. Change the prompt, or improve one image's noise (SGOOL KSampler, preset 'balanced')."
)
NOT_FINITE = "{count} of {total} images have no finite score; they come last."


@dataclass(frozen=True)
class Candidate:
    """One image of one seed, or one that a single run made on its way.

    Attributes:
        seed: that a sampler makes it of; of a single run's, a running number.
        place: of the image in the batch that the seed makes, from 0.
        score: higher is better; may be NaN.
        dropped_at: the sampling step after which it was dropped, its score being that of the estimate then; 0 where it was finished.
        samples: the latent that the sampler made, where it was finished.
        thumbnail: ``(3, h, w)`` in [0, 1], at most 256 pixels wide and high, on the CPU.
        origin: of a single run's, what made it, in words; else empty.
        noise: that a single run made it of, with a batch dimension.
    """

    seed: int
    place: int
    score: float
    thumbnail: Tensor
    dropped_at: int = 0
    samples: Any = None
    origin: str = ""
    noise: Any = None

    @property
    def key(self) -> tuple[bool, float, float, int, int]:
        """Sorts the best first: finished ones before dropped ones, later dropped ones before earlier ones, then by score, then by seed."""
        score = -self.score if math.isfinite(self.score) else math.inf
        return (self.dropped_at > 0, -self.dropped_at, score, self.seed, self.place)


@dataclass(frozen=True)
class Ranking:
    """Candidates, the best first, and sentences for the user.

    Attributes:
        candidates: all of them.
        steps: sampling steps that were made.
        plain_steps: that a best of as many without halving makes.
        messages: sentences for the user.
    """

    candidates: list[Candidate]
    steps: int
    plain_steps: int
    messages: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, candidates: Sequence[Candidate], steps: int, plain_steps: int, messages: Sequence[str] = ()) -> Ranking:
        """Sort them, and say what there is to say."""
        ranked = sorted(candidates, key=lambda each: each.key)
        said = list(messages)
        failed = sum(not math.isfinite(each.score) for each in ranked)
        if failed:
            said.append(NOT_FINITE.format(count=failed, total=len(ranked)))
        spread = mean_distance([each.thumbnail for each in ranked if not each.dropped_at])
        if spread < ALIKE:
            said.append(POINTLESS.format(spread=spread, side=SPREAD_SIDE))
        return cls(ranked, steps, plain_steps, said)

    def to_text(self, keep: int) -> str:
        """Messages, a line for each candidate (those kept have a mark), and what it cost."""
        several = _several(self.candidates)
        lines = table_of(self.candidates, keep)
        cost = f"{self.steps} sampling steps"
        if self.steps < self.plain_steps:
            cost += f" instead of {self.plain_steps}"
        kept = "* kept. A KSampler with the same settings and this seed makes the same image" + (", in the same place." if several else ".")
        return "\n".join([*self.messages, *lines, kept, cost + "."])


def table_of(candidates: Sequence[Candidate], keep: int) -> list[str]:
    """A heading and a line for each candidate, in their order; the first ``keep`` have a mark."""
    several = _several(candidates)
    made_by = [each.origin or str(each.seed) for each in candidates]
    width = max(20, *map(len, made_by))
    heading = "made by" if any(each.origin for each in candidates) else "seed"
    lines = [f"  rank  {heading:>{width}}" + ("  image" if several else "") + "      score"]
    for rank, (each, made) in enumerate(zip(candidates, made_by, strict=True), start=1):
        place = f"  {each.place + 1:5d}" if several else ""
        note = f"  dropped after step {each.dropped_at}" if each.dropped_at else ""
        lines.append(f"{'*' if rank <= keep else ' '} {rank:4d}  {made:>{width}}{place}  {each.score:9.4f}{note}")
    return lines


def captions_of(candidates: Sequence[Candidate]) -> list[list[str]]:
    """For a contact sheet, the lines below each candidate: rank and score, then what made it."""
    several, captions = _several(candidates), []
    for rank, each in enumerate(candidates, start=1):
        score = f"{each.score:.4f}" if math.isfinite(each.score) else "no score"
        dropped = f", dropped after step {each.dropped_at}" if each.dropped_at else ""
        made = each.origin or f"seed {each.seed}"
        captions.append([f"{rank}.  {score}{dropped}", made + (f", image {each.place + 1}" if several else "")])
    return captions


def _several(candidates: Sequence[Candidate]) -> bool:
    return len({each.place for each in candidates}) > 1


def thumbnail(image: Tensor) -> Tensor:
    """An image ``(3, H, W)`` no larger than 256 pixels, float32 on the CPU."""
    return shrink(image.detach().float().cpu().clamp(0, 1)[None], THUMBNAIL)[0]


def mean_distance(images: Sequence[Tensor]) -> float:
    """How much images ``(3, h, w)`` in [0, 1] differ: the mean over pairs of the root mean square difference at 32 x 32 pixels.

    Infinity where there is no pair, since nothing is known then.
    """
    if len(images) < 2:
        return math.inf
    small = torch.cat([resize(image[None], (SPREAD_SIDE, SPREAD_SIDE)) for image in images]).flatten(1)
    distances = torch.pdist(small) / small.shape[1] ** 0.5
    return float(distances.mean())


def halving_plan(runs: int, steps: int, least: int) -> list[tuple[int, int]]:
    """When successive halving looks, and how many runs go on: after a quarter and after half of the steps, the better half.

    Successive halving: Jamieson and Talwalkar, arXiv 1502.07943; a quarter and a half are this project's choice.

    Args:
        runs: that begin.
        steps: of a run. One of a single step is not left off.
        least: never do fewer go on.

    Returns:
        ``(steps made, runs that go on)``, where fewer do than before.
    """
    found, left = [], runs
    for after in sorted({-(-steps // 4), -(-steps // 2)}):
        kept = max(least, -(-left // 2))
        if after < steps and kept < left:
            found.append((after, left := kept))
    return found


def steps_of(runs: int, steps: int, plan: Sequence[tuple[int, int]]) -> int:
    """How many steps ``runs`` runs of ``steps`` steps make in all where ``plan``, of :func:`halving_plan`, leaves some off."""
    total, left = runs * steps, runs
    for after, kept in plan:
        total, left = total - (left - kept) * (steps - after), kept
    return total
