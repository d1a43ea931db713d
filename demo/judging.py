"""The judge: says which objects stand in an image, and whether that is what a prompt asked for.

It is trained on scenes and on decoded latents, never optimized against, and shares nothing with the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn

from .architecture import JUDGE_CHANNELS
from .captions import COLOR_NAMES, SHAPES, SIZES, Caption, parse

CELL = 4  # pixels between two guesses of the judge
CLEARLY_BESIDE = 4.0  # pixels by which one center must be to the left of another to count as "left of"


@dataclass(frozen=True)
class Detected:
    """One object that the judge sees: names, and its center in pixels."""

    color: str
    shape: str
    size: str
    x: float
    y: float


@dataclass(frozen=True)
class Verdict:
    """What the judge says of one image and one prompt."""

    objects: bool  # everything asked for is there, with its attributes
    count: bool  # and nothing more
    relation: bool  # and stands where the prompt says (True where it says nothing)
    seen: tuple[Detected, ...]

    @property
    def right(self) -> bool:
        return self.objects and self.count and self.relation


def split_channels(logits: Tensor) -> dict[str, Tensor]:
    """(B, C, h, w) logits by the names in ``JUDGE_CHANNELS``."""
    return dict(zip(JUDGE_CHANNELS, logits.split(list(JUDGE_CHANNELS.values()), dim=1), strict=True))


@torch.no_grad()
def detect(judge: nn.Module, images: Tensor, threshold: float = 0.5) -> list[list[Detected]]:
    """The objects in each image (B, 3, 64, 64) in [0, 1]: peaks of the center map, at least two cells apart."""
    parts = split_channels(judge(images).float())
    center = parts["center"].sigmoid()
    peak = (center == nn.functional.max_pool2d(center, 5, stride=1, padding=2)) & (center > threshold)
    found: list[list[Detected]] = [[] for _ in range(len(images))]
    for b, _, row, column in peak.nonzero().tolist():
        color, shape, size = (int(parts[name][b, :, row, column].argmax()) for name in ("color", "shape", "size"))
        dx, dy = parts["offset"][b, :, row, column].tolist()
        found[b].append(
            Detected(
                COLOR_NAMES[color],
                SHAPES[shape],
                SIZES[size],
                (column + 0.5 + dx) * CELL,
                (row + 0.5 + dy) * CELL,
            )
        )
    return found


def _stands(a: Detected, b: Detected, relation: str) -> bool:
    ahead = {"left of": b.x - a.x, "right of": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}[relation]
    return ahead >= CLEARLY_BESIDE


def compare(caption: Caption, seen: Sequence[Detected]) -> Verdict:
    """Hold what was seen against a caption: the best of all ways to tell which object is which."""
    wanted = caption.objects()
    objects = relation = False
    second = caption.phrases[0].count  # where the second phrase's first object stands among the wanted
    for order in permutations(seen, len(wanted)):
        fits = all((o.color, o.shape) == w[:2] and w[2] in (None, o.size) for o, w in zip(order, wanted, strict=True))
        objects |= fits
        relation |= fits and (caption.relation is None or _stands(order[0], order[second], caption.relation))
    return Verdict(objects, len(seen) == len(wanted), relation, tuple(seen))


def judge_images(judge: nn.Module, images: Tensor, prompts: Sequence[str]) -> list[Verdict]:
    """A verdict for each image (B, 3, 64, 64); one prompt for all, or one each.

    Raises:
        ValueError: another number of prompts, or a prompt that is not of the demo model's world.
    """
    if len(prompts) not in (1, len(images)):
        raise ValueError(f"There are {len(images)} images and {len(prompts)} prompts; give one prompt, or one for each image.")
    captions = [parse(prompt) for prompt in prompts]
    captions = captions * len(images) if len(captions) == 1 else captions
    return [compare(c, s) for c, s in zip(captions, detect(judge, images), strict=True)]
