"""Held-out prompts of the demo model's world, by kind, in two halves that share none: one to tune on, one to report."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from sgool.demo.captions import MAX_OBJECTS, SIMILAR, Caption, parse
from sgool.demo.scenes import draw_scene

KINDS = ("objects", "attributes", "relations", "counts", "small")
HALVES = ("tune", "report")
SEED = 4321
PLACES = 10_000  # that a half has for each seed; more prompts than anybody will run


@dataclass(frozen=True)
class Prompt:
    """A prompt, its kind, and the seed of its first noise."""

    text: str
    kind: str
    seed: int


def kind_of(caption: Caption) -> str | None:
    """What is hard about a caption, the first of: everything small, a relation, a pair beside something else, three objects whose
    attributes are easily mixed up, three objects. ``None`` for what is easier, which leaves little to improve."""
    if caption.count < 2:
        return None
    if all(phrase.size == "small" for phrase in caption.phrases):
        return "small"
    if caption.relation is not None:
        return "relations"
    if caption.count < MAX_OBJECTS:
        return None
    if any(phrase.count > 1 for phrase in caption.phrases):
        return "counts"
    colors = [phrase.color for phrase in caption.phrases]
    return "attributes" if any(b in SIMILAR[a] for a in colors for b in colors) else "objects"


def half_of(text: str) -> str:
    """Which half a prompt belongs to, by a checksum of its text."""
    return HALVES[zlib.crc32(f"half {text}".encode()) % 2]


def draw_prompts(half: str, count: int, number: int = 0) -> list[Prompt]:
    """The first ``count`` prompts of a half, the kinds in turn; more of them begin with the same ones. Each has as many seeds as one wants:
    ``number`` says which."""
    rng = np.random.default_rng(SEED)
    found: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    share = -(-count // len(KINDS))
    while any(len(texts) < share for texts in found.values()):
        text = draw_scene(rng, keep_held_out=True).caption.text()
        kind = kind_of(parse(text))
        if kind is not None and half_of(text) == half:
            found[kind][text] = None
    rows = [(list(found[kind])[i], kind) for i in range(share) for kind in KINDS]
    return [Prompt(text, kind, zlib.crc32(f"{text} {number}".encode() if number else text.encode())) for text, kind in rows[:count]]


def places(count: int, seeds: int) -> list[int]:
    """Where a half's first ``count`` prompts stand under each of the first ``seeds`` seeds; the same for every count."""
    return [number * PLACES + i for number in range(seeds) for i in range(count)]
