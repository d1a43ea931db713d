"""Prompts that the demo model was not made for: four objects, where its scenes have at most three. One plain sample in twenty is right.

Three objects with a relation are too easy for that (22 to 33 % right), five too hard (0 of 600).
"""

from __future__ import annotations

import itertools

import numpy as np
from sgool.demo.captions import COLOR_NAMES, SHAPES, SIMILAR, Caption, Phrase, held_out
from sgool.demo.scenes import RADIUS, Placed, Scene, relation_between, stand

from .prompts import in_turn

HARD_KINDS = ("four", "related", "similar", "a pair")
OBJECTS, SEED = 4, 8765


def draw_hard_scene(rng: np.random.Generator, kind: str, *, keep_held_out: bool = False) -> Scene:
    """A scene with its caption: four objects; the first two in a relation, each color like the one before it, or the last two alike."""
    while True:
        names: list[tuple[str, str]] = []
        while len(names) < OBJECTS:
            similar = names and (kind == "similar" or rng.random() < 0.25)
            name = str(rng.choice(SIMILAR[names[-1][0]] if similar else COLOR_NAMES)), str(rng.choice(SHAPES))
            if name not in names:
                names.append(name)
        if kind == "a pair":
            names[-1] = names[-2]
        objects = _placed(names, rng)
        if objects is None:
            continue
        phrases = [Phrase(o.color, o.shape, "small" if o.size == "small" and rng.random() < 0.4 else None) for o in objects]
        if kind == "a pair":
            phrases = [*phrases[:-2], Phrase(*names[-1], count=2)]
        relation = relation_between(objects[0], objects[1]) if kind == "related" else None
        caption = Caption(tuple(phrases), relation)
        if (relation is not None) == (kind == "related") and held_out(caption.text()) == keep_held_out:
            return Scene(objects, caption, int(rng.integers(2**31)))


def _placed(names: list[tuple[str, str]], rng: np.random.Generator) -> tuple[Placed, ...] | None:
    """Small and medium objects apart from each other, or None where the dice left no room."""
    placed: list[Placed] = []
    for color, shape in names:
        for _ in range(30):
            size = "small" if rng.random() < 0.75 else "medium"
            found = stand((color, shape, size), float(rng.uniform(*RADIUS[size])), placed, rng)
            if found is not None:
                placed.append(found)
                break
        else:
            return None
    return tuple(placed)


def draw_hard_scenes(half: str, count: int) -> list[Scene]:
    """Scenes whose captions are the first ``count`` prompts of a half, the kinds in turn; more of them begin with the same ones."""
    rng = np.random.default_rng(SEED)
    drawn = ((kind, draw_hard_scene(rng, kind, keep_held_out=True)) for kind in itertools.cycle(HARD_KINDS))
    return in_turn(HARD_KINDS, half, count, drawn)


def draw_hard_prompts(half: str, count: int) -> list[str]:
    """Their captions."""
    return [scene.caption.text() for scene in draw_hard_scenes(half, count)]
