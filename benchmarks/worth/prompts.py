"""Held-out prompts of the demo model's world, by kind, in two halves that share none: one to tune on, one to report."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sgool.demo.captions import SIMILAR, Caption
from sgool.demo.scenes import Scene, draw_scene

KINDS = ("objects", "attributes", "relations", "counts", "small")
HALVES = ("tune", "report")
SEED = 4321
CHUNK = 10  # prompts that are sampled together; always whole, so that an image does not depend on how many are asked for


def kind_of(caption: Caption) -> str | None:
    """What is hard about a caption: of what is listed for its number of objects the first that holds. ``None`` for what is easier, which
    leaves little to improve."""
    colors = [phrase.color for phrase in caption.phrases]
    easy = {"small": all(phrase.size == "small" for phrase in caption.phrases), "relations": caption.relation is not None}
    pair = len(caption.phrases) < caption.count
    mixed_up = any(b in SIMILAR[a] for a in colors for b in colors)
    each_like_the_last = all(b in SIMILAR[a] for a, b in itertools.pairwise(colors))
    kinds: dict[int, dict[str, bool]] = {
        2: easy,
        3: {**easy, "counts": pair, "attributes": mixed_up, "objects": True},
        4: {"related": caption.relation is not None, "a pair": pair, "similar": each_like_the_last, "four": True},
    }
    return next((kind for kind, holds in kinds.get(caption.count, {}).items() if holds), None)


def half_of(text: str) -> str:
    """Which half a prompt belongs to, by a checksum of its text."""
    return HALVES[zlib.crc32(f"half {text}".encode()) % 2]


def draw_prompts(half: str, count: int) -> list[str]:
    """The first ``count`` prompts of a half, the kinds in turn; more of them begin with the same ones."""
    rng = np.random.default_rng(SEED)
    drawn = (draw_scene(rng, keep_held_out=True) for _ in itertools.count())
    return [scene.caption.text() for scene in in_turn(KINDS, half, count, ((kind_of(scene.caption), scene) for scene in drawn))]


def in_turn(kinds: Sequence[str], half: str, count: int, drawn: Iterator[tuple[str | None, Scene]]) -> list[Scene]:
    """Of scenes that are drawn, with their kinds, the first ``count`` whose captions are of a half, the kinds in turn; no caption twice."""
    found: dict[str, dict[str, Scene]] = {kind: {} for kind in kinds}
    share = -(-count // len(kinds))
    while any(len(scenes) < share for scenes in found.values()):
        kind, scene = next(drawn)
        if kind in found and half_of(scene.caption.text()) == half:
            found[kind][scene.caption.text()] = scene
    return [list(found[kind].values())[i] for i in range(share) for kind in kinds][:count]


def chunks(half: str, count: int, draw: Callable[[str, int], list[str]] = draw_prompts) -> list[tuple[str, ...]]:
    """At least the first ``count`` prompts, in whole chunks."""
    prompts = draw(half, -(-count // CHUNK) * CHUNK)
    return [tuple(prompts[start : start + CHUNK]) for start in range(0, len(prompts), CHUNK)]


def noise_seed(text: str, number: int) -> int:
    """Of a prompt's first noise, under each of its seeds, by a checksum."""
    return zlib.crc32(f"{text} {number}".encode() if number else text.encode())
