"""Scenes of the demo model's world: which objects stand where, on which ground, and how a caption calls them.

Everything is drawn from one ``numpy.random.Generator``; the same seed gives the same scenes. A scene is a row of plain
arrays, so that many are rendered at once (``render.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .captions import COLOR_NAMES, MAX_OBJECTS, OPPOSITE, RELATIONS, SHAPES, SIMILAR, SIZES, Caption, Phrase, held_out

SIDE = 64
MAX_CLUTTER = 7
CLUTTER_KINDS = 4  # bar, half disc, wedge, dots
GROUND_KINDS = 5  # gradient, value noise, stripes, checks, stray lines
RADIUS = {"small": (5.5, 7.0), "medium": (8.0, 9.5), "large": (11.0, 13.5)}
GAP = 2.0  # pixels that stay free between two objects
RELATION_DISTANCE = 8.0  # a caption calls something "left of" only if its center is at least so far to the left


@dataclass(frozen=True)
class Placed:
    """One object in an image: names, center and radius in pixels of a 64 x 64 image (x to the right, y down)."""

    color: str
    shape: str
    size: str
    x: float
    y: float
    radius: float
    angle: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Objects, their caption, and the seed of everything that no caption names."""

    objects: tuple[Placed, ...]
    caption: Caption
    ground_seed: int


def relation_between(a: Placed, b: Placed) -> str | None:
    """Where ``a`` stands as seen from ``b`` along the axis that separates them most, or None if too close to say."""
    dx, dy = a.x - b.x, a.y - b.y
    if max(abs(dx), abs(dy)) < RELATION_DISTANCE:
        return None
    if abs(dx) >= abs(dy):
        return RELATIONS[0] if dx < 0 else RELATIONS[1]
    return RELATIONS[2] if dy < 0 else RELATIONS[3]


def _draw_kinds(rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Color, shape and size of one to three objects; colors are often similar, a pair is sometimes the same twice."""
    number = int(rng.choice([1, 2, 3], p=[0.2, 0.45, 0.35]))
    kinds: list[tuple[str, str, str]] = []
    while len(kinds) < number:
        color, shape = str(rng.choice(COLOR_NAMES)), str(rng.choice(SHAPES))
        if kinds and rng.random() < 0.35:
            color = str(rng.choice(SIMILAR[kinds[-1][0]]))
        if all((color, shape) != kind[:2] for kind in kinds):
            kinds.append((color, shape, str(rng.choice(SIZES, p=[0.45, 0.3, 0.25]))))
    if number >= 2 and rng.random() < 0.2:
        kinds[1] = kinds[0]
    return kinds


def stand(kind: tuple[str, str, str], radius: float, beside: Sequence[Placed], rng: np.random.Generator) -> Placed | None:
    """An object of a color, shape and size somewhere in the image, or ``None`` where it would come too near to one of ``beside``."""
    x, y = (float(each) for each in rng.uniform(radius + 1.5, SIDE - radius - 1.5, 2))
    if any(np.hypot(x - o.x, y - o.y) <= 1.1 * (radius + o.radius) + GAP for o in beside):
        return None
    return Placed(*kind, x, y, radius, float(rng.uniform(-0.25, 0.25)))


def _place(kinds: list[tuple[str, str, str]], rng: np.random.Generator) -> tuple[Placed, ...] | None:
    placed: list[Placed] = []
    for kind in kinds:
        for _ in range(30):
            found = stand(kind, float(rng.uniform(*RADIUS[kind[2]])), placed, rng)
            if found is not None:
                placed.append(found)
                break
        else:
            return None
    return tuple(placed)


def _describe(objects: tuple[Placed, ...], rng: np.random.Generator) -> Caption:
    """A true caption: sizes are named more often than not, relations where two single objects are far enough apart."""
    phrases: list[Phrase] = []
    singles: list[Placed | None] = []
    for obj in objects:
        if phrases and (phrases[-1].color, phrases[-1].shape) == (obj.color, obj.shape):
            phrases[-1] = Phrase(obj.color, obj.shape, phrases[-1].size, 2)
            singles[-1] = None
            continue
        named = obj.size if obj.size != "medium" and rng.random() < 0.7 else None
        phrases.append(Phrase(obj.color, obj.shape, named))
        singles.append(obj)
    relation = None
    if len(phrases) >= 2 and singles[0] is not None and singles[1] is not None and rng.random() < 0.55:
        relation = relation_between(singles[0], singles[1])
    return Caption(tuple(phrases), relation)


def draw_scene(rng: np.random.Generator, *, keep_held_out: bool = False) -> Scene:
    """One random scene. Scenes whose caption is held out are drawn only if ``keep_held_out``, and then no others."""
    while True:
        objects = _place(_draw_kinds(rng), rng)
        if objects is None:
            continue
        caption = _describe(objects, rng)
        if held_out(caption.text()) == keep_held_out:
            return Scene(objects, caption, int(rng.integers(2**31)))


def draw_scenes(n: int, seed: int, *, keep_held_out: bool = False) -> list[Scene]:
    """``n`` scenes from one seed."""
    rng = np.random.default_rng(seed)
    return [draw_scene(rng, keep_held_out=keep_held_out) for _ in range(n)]


def mirrored(scene: Scene) -> Scene:
    """The scene whose image is this one's, flipped left to right."""
    objects = tuple(replace(o, x=SIDE - o.x, angle=-o.angle) for o in scene.objects)
    relation = scene.caption.relation
    turned = OPPOSITE[relation] if relation in ("left of", "right of") else relation
    return replace(scene, objects=objects, caption=replace(scene.caption, relation=turned))


def held_out_prompts(n: int, seed: int = 1234) -> list[str]:
    """``n`` different captions that no training scene has."""
    rng = np.random.default_rng(seed)
    prompts: dict[str, None] = {}
    while len(prompts) < n:
        prompts[draw_scene(rng, keep_held_out=True).caption.text()] = None
    return list(prompts)


__all__ = ["MAX_OBJECTS", "Placed", "Scene", "draw_scene", "draw_scenes", "held_out_prompts", "relation_between", "stand"]
