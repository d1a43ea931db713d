"""What the demo model's world can say: a small grammar, its wrong variants, and a reader for prompts.

A caption names one to three objects, for example ``"a small red circle left of a large teal ring and a pink cross"``
or ``"two green squares and a blue triangle"``. Grounds and the gray things on them are never named.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations

import numpy as np

from ..schema.prompts import quoted

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (242, 132, 32),
    "yellow": (236, 208, 48),
    "green": (60, 165, 70),
    "teal": (28, 165, 168),
    "blue": (45, 88, 208),
    "purple": (125, 58, 182),
    "pink": (238, 112, 172),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
SIZES = ("small", "medium", "large")  # "medium" is a size that captions do not name
RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
COLOR_NAMES = tuple(COLORS)
SIMILAR = {
    "red": ("orange", "pink"),
    "orange": ("red", "yellow"),
    "yellow": ("orange", "green"),
    "green": ("teal", "yellow"),
    "teal": ("green", "blue"),
    "blue": ("teal", "purple"),
    "purple": ("blue", "pink"),
    "pink": ("red", "purple"),
}
MAX_OBJECTS = 3  # of the scenes that everything is trained on
MOST_READ = 4  # objects of a prompt, for the judge
PLURALS = {shape: shape + ("es" if shape == "cross" else "s") for shape in SHAPES}
WORDS = (  # in the order of the tokenizer's numbers, which the weights know: never change it
    *("a", "an", "two", "and", "small", "large"),
    *COLOR_NAMES,
    *SHAPES,
    *PLURALS.values(),
    *("left", "right", "of", "above", "below"),
)


@dataclass(frozen=True)
class Phrase:
    """``count`` objects of one color and shape; ``size`` is "small", "large" or None where any size will do."""

    color: str
    shape: str
    size: str | None = None
    count: int = 1

    def text(self) -> str:
        if self.count == 2:
            article, noun = "two", PLURALS[self.shape]
        else:
            article, noun = "an" if self.size is None and self.color == "orange" else "a", self.shape
        return " ".join(word for word in (article, self.size, self.color, noun) if word)


@dataclass(frozen=True)
class Caption:
    """One to three phrases; ``relation`` says where the first stands as seen from the second."""

    phrases: tuple[Phrase, ...]
    relation: str | None = None

    def text(self) -> str:
        parts = [phrase.text() for phrase in self.phrases]
        if self.relation is not None:
            parts = [f"{parts[0]} {self.relation} {parts[1]}", *parts[2:]]
        return " and ".join(parts)

    def meaning(self) -> tuple[object, ...]:
        """The same for captions that say the same in another order: "a red ring and a blue ring", "a blue ring and a red ring"."""
        if self.relation is None:
            return (None, *sorted(phrase.text() for phrase in self.phrases))
        first, second, *rest = (phrase.text() for phrase in self.phrases)
        if self.relation in ("right of", "below"):
            return (OPPOSITE[self.relation], second, first, *sorted(rest))
        return (self.relation, first, second, *sorted(rest))

    def may_agree(self, other: Caption) -> bool:
        """Whether some scene is rightly told by both: a size that is left out may be any."""
        mine, theirs = self.objects(), other.objects()
        if len(mine) != len(theirs):
            return False
        second, their_second = self.phrases[0].count, other.phrases[0].count
        for order in permutations(range(len(mine))):  # their objects are my objects in this order
            pairs = ((mine[i], wanted) for i, wanted in zip(order, theirs, strict=True))
            if any(a[:2] != b[:2] or (None not in (a[2], b[2]) and a[2] != b[2]) for a, b in pairs):
                continue
            if None in (self.relation, other.relation):
                return True
            against = {(0, second): OPPOSITE[str(self.relation)], (second, 0): self.relation}
            if against.get((order[0], order[their_second])) != other.relation:
                return True
        return False

    def objects(self) -> list[tuple[str, str, str | None]]:
        """Color, shape and size of each object asked for, in the order of the phrases."""
        return [(phrase.color, phrase.shape, phrase.size) for phrase in self.phrases for _ in range(phrase.count)]

    @property
    def count(self) -> int:
        return sum(phrase.count for phrase in self.phrases)


_PHRASE = re.compile(
    rf"^(?P<count>an?|two)(?: (?P<size>small|large))? (?P<color>{'|'.join(COLOR_NAMES)}) (?P<shape>{'|'.join(SHAPES)})(?:e?s)?$"
)


def parse(text: str) -> Caption:
    """Read a prompt of the grammar back into a :class:`Caption`.

    Raises:
        ValueError: the text is not of the grammar; the message shows a text that is.
    """
    cleaned = " ".join(text.lower().replace(",", " and ").split())
    relation = next((r for r in RELATIONS if f" {r} " in cleaned), None)
    pieces = [piece.strip() for piece in re.split(rf" and (?=an? |two )| (?:{'|'.join(RELATIONS)}) ", cleaned) if piece.strip()]
    matches = [_PHRASE.match(piece) for piece in pieces]
    phrases = tuple(Phrase(m["color"], m["shape"], m["size"], 2 if m["count"] == "two" else 1) for m in matches if m is not None)
    if not phrases or len(phrases) != len(matches) or sum(p.count for p in phrases) > MOST_READ:
        raise ValueError(
            f"The demo model's judge cannot read the prompt {quoted(text)}. It reads one to four objects, such as "
            f"'a small red circle left of a large blue ring'; colors: {', '.join(COLOR_NAMES)}; shapes: {', '.join(SHAPES)}."
        )
    return Caption(phrases, relation if len(phrases) > 1 else None)


def held_out(text: str) -> bool:
    """Whether a caption is kept from all training: one in ten, by a checksum of its text."""
    return zlib.crc32(text.encode()) % 10 == 0


def _other(options: tuple[str, ...], current: str | None, rng: np.random.Generator) -> str:
    return str(rng.choice([option for option in options if option != current]))


def _swap(caption: Caption, rng: np.random.Generator, field: str) -> Caption | None:
    """Exchange one attribute between two phrases, where that changes anything."""
    if len(caption.phrases) < 2:
        return None
    i, j = rng.choice(len(caption.phrases), 2, replace=False)
    a, b = caption.phrases[i], caption.phrases[j]
    if None in (getattr(a, field), getattr(b, field)):
        return None
    phrases = list(caption.phrases)
    phrases[i] = replace(a, **{field: getattr(b, field)})
    phrases[j] = replace(b, **{field: getattr(a, field)})
    return replace(caption, phrases=tuple(phrases))


def _alter_phrase(caption: Caption, rng: np.random.Generator, field: str) -> Caption | None:
    i = int(rng.integers(len(caption.phrases)))
    phrase = caption.phrases[i]
    if field == "color":
        near = rng.random() < 0.5
        changed = replace(phrase, color=str(rng.choice(SIMILAR[phrase.color])) if near else _other(COLOR_NAMES, phrase.color, rng))
    elif field == "shape":
        changed = replace(phrase, shape=_other(SHAPES, phrase.shape, rng))
    else:
        if phrase.size is None:
            return None
        changed = replace(phrase, size="large" if phrase.size == "small" else "small")
    return replace(caption, phrases=(*caption.phrases[:i], changed, *caption.phrases[i + 1 :]))


def _alter_relation(caption: Caption, rng: np.random.Generator) -> Caption | None:
    return None if caption.relation is None else replace(caption, relation=OPPOSITE[caption.relation])


def _drop(caption: Caption, rng: np.random.Generator) -> Caption | None:
    if len(caption.phrases) < 2:
        return None
    i = int(rng.integers(len(caption.phrases)))
    return Caption((*caption.phrases[:i], *caption.phrases[i + 1 :]))


def _add(caption: Caption, rng: np.random.Generator) -> Caption | None:
    if caption.count >= MAX_OBJECTS:
        return None
    extra = Phrase(str(rng.choice(COLOR_NAMES)), str(rng.choice(SHAPES)))
    return replace(caption, phrases=(*caption.phrases, extra))


def _recount(caption: Caption, rng: np.random.Generator) -> Caption | None:
    i = int(rng.integers(len(caption.phrases)))
    phrase = caption.phrases[i]
    if phrase.count == 1 and caption.count >= MAX_OBJECTS:
        return None
    changed = replace(phrase, count=3 - phrase.count)
    return replace(caption, phrases=(*caption.phrases[:i], changed, *caption.phrases[i + 1 :]))


Edit = Callable[[Caption, np.random.Generator], "Caption | None"]
_BINDING: tuple[Edit, ...] = (*(partial(_swap, field=field) for field in ("color", "shape", "size")), _alter_relation)
_ATTRIBUTES: tuple[Edit, ...] = (*(partial(_alter_phrase, field=field) for field in ("color", "shape", "size")), *_BINDING[:3])
_EDITS: tuple[Edit, ...] = (
    *_ATTRIBUTES,
    *_BINDING[3:],
    _drop,
    _add,
    _recount,
)


def hard_negatives(
    caption: Caption, n: int, rng: np.random.Generator, *, binding: float = 1.0, attributes_only: bool = False
) -> list[Caption]:
    """``n`` captions that each differ from ``caption`` by one edit: an attribute changed or swapped, a relation
    turned round, an object dropped, added or doubled. None can be true where ``caption`` is; they need not differ from one another.

    ``binding`` is how much more often an edit is tried that keeps all words: what belongs to which object, and what is where.
    ``attributes_only`` leaves it at attributes changed or swapped.
    """
    edits = _ATTRIBUTES if attributes_only else _EDITS
    chances = np.array([binding if edit in _BINDING else 1.0 for edit in edits])
    chances /= chances.sum()
    out: list[Caption] = []
    while len(out) < n:
        edited = edits[int(rng.choice(len(edits), p=chances))](caption, rng)
        if edited is not None and not edited.may_agree(caption):
            out.append(edited)
    return out
