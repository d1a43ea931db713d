"""Prompts that the demo model was not made for: four objects, where its scenes have at most three. One plain sample in twenty is right.

Three objects with a relation are too easy for that (22 to 33 % right), five too hard (0 of 600).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

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


def twin(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one object less or one of another color or shape, on the same ground, and with its own caption."""
    sizes = [size for _, _, size in scene.caption.objects()]
    while True:
        objects, i = list(scene.objects), int(rng.integers(len(scene.objects)))
        relation = scene.caption.relation
        if rng.random() < 0.5:
            color, shape = str(rng.choice(SIMILAR[objects[i].color])), str(rng.choice(SHAPES))
            objects[i] = replace(objects[i], color=color) if rng.random() < 0.5 else replace(objects[i], shape=shape)
        else:
            del objects[i]
            relation = relation if i > 1 else None
        kept = [size for number, size in enumerate(sizes) if len(objects) == len(sizes) or number != i]
        caption = _caption(objects, kept, relation)
        kinds = len({(o.color, o.shape) for o in objects})  # as many as phrases, unless two alike are told apart
        clear = kinds == len(caption.phrases) and (relation is None or caption.phrases[0].count == 1)
        if clear and caption != scene.caption and not held_out(caption.text()):
            return Scene(tuple(objects), caption, scene.ground_seed)


def _caption(objects: Sequence[Placed], sizes: Sequence[str | None], relation: str | None) -> Caption:
    """Of objects with those sizes named; two alike in a row are one phrase."""
    phrases: list[Phrase] = []
    for obj, size in zip(objects, sizes, strict=True):
        phrase = Phrase(obj.color, obj.shape, size)
        phrases = [*phrases[:-1], replace(phrase, count=2)] if phrases and phrases[-1] == phrase else [*phrases, phrase]
    return Caption(tuple(phrases), relation)


def draw_hard_scenes(half: str, count: int) -> list[Scene]:
    """Scenes whose captions are the first ``count`` prompts of a half, the kinds in turn; more of them begin with the same ones."""
    rng = np.random.default_rng(SEED)
    drawn = ((kind, draw_hard_scene(rng, kind, keep_held_out=True)) for kind in itertools.cycle(HARD_KINDS))
    return in_turn(HARD_KINDS, half, count, drawn)


def draw_hard_prompts(half: str, count: int) -> list[str]:
    """Their captions."""
    return [scene.caption.text() for scene in draw_hard_scenes(half, count)]
