"""Held-out prompts of the demo model's world, by kind, in two halves that share none: one to tune on, one to report."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from sgool.demo.captions import MAX_OBJECTS, SIMILAR, Caption, parse
from sgool.demo.scenes import draw_scene

KINDS = ("objects", "attributes", "relations", "counts", "small")
HALVES = ("tune", "report")
SEED = 4321
CHUNK = 10  # prompts that are sampled together; always whole, so that an image does not depend on how many are asked for


def kind_of(caption: Caption) -> str | None:
    """What is hard about a caption, the first of: everything small, a relation, a pair beside something else, three objects whose
    attributes are easily mixed up, three objects. ``None`` for what is easier, which leaves little to improve."""
    if caption.count > MAX_OBJECTS:
        return hard_kind_of(caption)
    if caption.count < 2:
        return None
    if all(phrase.size == "small" for phrase in caption.phrases):
        return "small"
    if caption.relation is not None:
        return "relations"
    return _kind_of_three(caption) if caption.count == MAX_OBJECTS else None


def _kind_of_three(caption: Caption) -> str:
    if any(phrase.count > 1 for phrase in caption.phrases):
        return "counts"
    colors = [phrase.color for phrase in caption.phrases]
    return "attributes" if any(b in SIMILAR[a] for a in colors for b in colors) else "objects"


def hard_kind_of(caption: Caption) -> str:
    """The same of four objects, the first of: a relation, a pair, each color similar to the one before it, none of these."""
    if caption.relation is not None:
        return "related"
    if len(caption.phrases) < caption.count:
        return "a pair"
    colors = [phrase.color for phrase in caption.phrases]
    return "similar" if all(b in SIMILAR[a] for a, b in pairwise(colors)) else "four"


def half_of(text: str) -> str:
    """Which half a prompt belongs to, by a checksum of its text."""
    return HALVES[zlib.crc32(f"half {text}".encode()) % 2]


def draw_prompts(half: str, count: int) -> list[str]:
    """The first ``count`` prompts of a half, the kinds in turn; more of them begin with the same ones."""
    rng = np.random.default_rng(SEED)
    found: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    share = -(-count // len(KINDS))
    while any(len(texts) < share for texts in found.values()):
        text = draw_scene(rng, keep_held_out=True).caption.text()
        kind = kind_of(parse(text))
        if kind is not None and half_of(text) == half:
            found[kind][text] = None
    return [list(found[kind])[i] for i in range(share) for kind in KINDS][:count]


def chunks(half: str, count: int, draw: Callable[[str, int], list[str]] = draw_prompts) -> list[tuple[str, ...]]:
    """At least the first ``count`` prompts, in whole chunks."""
    prompts = draw(half, -(-count // CHUNK) * CHUNK)
    return [tuple(prompts[start : start + CHUNK]) for start in range(0, len(prompts), CHUNK)]


def noise_seed(text: str, number: int) -> int:
    """Of a prompt's first noise, under each of its seeds, by a checksum."""
    return zlib.crc32(f"{text} {number}".encode() if number else text.encode())
