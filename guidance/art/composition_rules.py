"""Where the subject is to stand: rules of composition, each a number that is zero where the rule is kept.

Places are relative to the image: x from 0 (left) to 1 (right), y from 0 (top) to 1 (bottom). Distances are in image diagonals.
Rules are wishes: people asked for ratings prefer subjects at the center, and facing inward (Palmer, Gardner and Wickens 2008).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ...schema.ranged import Ranged, choice, number
from .balance import VISUAL_WEIGHTS, center_deviation, mirror_asymmetry, preference_for_balance, visual_weight
from .subject import edges, moments

Place = tuple[float | None, float | None]  # None: anywhere along that axis
Line = tuple[float, float, float, float]
GOLDEN = (3 - math.sqrt(5)) / 2  # the shorter part of a line divided in the golden section, .382
NEAREST = "nearest"
POWER_POINTS = (NEAREST, "upper left", "upper right", "lower left", "lower right", "left line", "right line", "upper line", "lower line")
SOFTNESS = 1e-3  # a distance below this counts by its square, so that the gradient is defined at zero


class ComposedScene:
    """What a rule looks at.

    Attributes:
        images: ``(B, 3, H, W)``. mass: ``(B, H, W)``, sums to one: how much each pixel belongs to the subject.
        center, spread: ``(B, 2)``, see ``moments``.
    """

    def __init__(self, images: Tensor, mass: Tensor) -> None:
        self.images, self.mass = images, mass
        self.center, self.spread = moments(mass)

    def distance_to(self, place: Place) -> Tensor:
        """From the subject's center, ``(B,)`` in diagonals of the image."""
        height, width = self.images.shape[-2:]
        square = torch.zeros_like(self.center[:, 0])
        for axis, (goal, side) in enumerate(zip(place, (width, height), strict=True)):
            if goal is not None:
                square = square + ((self.center[:, axis] - goal) * side) ** 2
        return soft_root(square / (height**2 + width**2))


def soft_root(square: Tensor) -> Tensor:
    """``sqrt(square)``, smooth at zero."""
    return (square + SOFTNESS**2).sqrt() - SOFTNESS


@dataclass(frozen=True)
class Rule(Ranged, ABC):
    """A rule of composition: ``(scene) -> (B,)``, at least 0. ``lines`` and ``places`` are what is drawn."""

    @abstractmethod
    def __call__(self, scene: ComposedScene) -> Tensor: ...

    def lines(self) -> list[Line]:
        """Guide lines: x, y of their two ends."""
        return []

    def places(self) -> list[Place]:
        """Where the subject may stand."""
        return []


class _OnPlaces(Rule):
    def __call__(self, scene: ComposedScene) -> Tensor:
        return torch.stack([scene.distance_to(place) for place in self.places()]).amin(0)


def _power_points(name: str, part: float) -> list[Place]:
    sides = {"left": part, "right": 1 - part, "upper": part, "lower": 1 - part}
    if name == NEAREST:
        return [(x, y) for y in (part, 1 - part) for x in (part, 1 - part)]
    first, second = name.split()
    if second == "line":
        return [(sides[first], None)] if first in ("left", "right") else [(None, sides[first])]
    return [(sides[second], sides[first])]


def _grid(part: float) -> list[Line]:
    return [line for at in (part, 1 - part) for line in ((at, 0.0, at, 1.0), (0.0, at, 1.0, at))]


@dataclass(frozen=True)
class RuleOfThirds(_OnPlaces):
    """Distance of the subject from where lines at 1/3 and 2/3 cross, or from one of those lines."""

    point: str = choice(NEAREST, POWER_POINTS, help="Where the subject is to stand: a crossing of two lines, or anywhere on one line.")

    def lines(self) -> list[Line]:
        return _grid(1 / 3)

    def places(self) -> list[Place]:
        return _power_points(self.point, 1 / 3)


@dataclass(frozen=True)
class GoldenSection(_OnPlaces):
    """The same with lines that divide each side in the golden section, at 0.382 and 0.618."""

    point: str = choice(NEAREST, POWER_POINTS, help="Where the subject is to stand: a crossing of two lines, or anywhere on one line.")

    def lines(self) -> list[Line]:
        return _grid(GOLDEN)

    def places(self) -> list[Place]:
        return _power_points(self.point, GOLDEN)


@dataclass(frozen=True)
class Centered(_OnPlaces):
    """Distance of the subject from the middle."""

    def lines(self) -> list[Line]:
        return [(0.5, 0.0, 0.5, 1.0), (0.0, 0.5, 1.0, 0.5)]

    def places(self) -> list[Place]:
        return [(0.5, 0.5)]


@dataclass(frozen=True)
class Point(_OnPlaces):
    """Distance of the subject from a point."""

    x: float = number(0.5, at_least=0, at_most=1, help="0 is the left edge, 1 the right.")
    y: float = number(0.5, at_least=0, at_most=1, help="0 is the top, 1 the bottom.")

    def places(self) -> list[Place]:
        return [(self.x, self.y)]


@dataclass(frozen=True)
class Box(Rule):
    """The part of the subject's mass outside a box, 0 to 1."""

    left: float = number(0.5, at_least=0, at_most=1, help="0 is the left edge of the image, 1 the right.")
    top: float = number(0.0, at_least=0, at_most=1, help="0 is the top of the image, 1 the bottom.")
    right: float = number(1.0, at_least=0, at_most=1, help="0 is the left edge of the image, 1 the right.")
    bottom: float = number(1.0, at_least=0, at_most=1, help="0 is the top of the image, 1 the bottom.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.right <= self.left or self.bottom <= self.top:
            raise ValueError("The box has no area; its right has to be above its left, and its bottom above its top.")

    def __call__(self, scene: ComposedScene) -> Tensor:
        height, width = scene.mass.shape[-2:]
        across = covered(width, self.left, self.right, scene.mass)
        down = covered(height, self.top, self.bottom, scene.mass)
        return 1 - (scene.mass * down[:, None] * across).sum(dim=(1, 2))

    def lines(self) -> list[Line]:
        x, y, r, b = self.left, self.top, self.right, self.bottom
        return [(x, y, r, y), (r, y, r, b), (r, b, x, b), (x, b, x, y)]


@dataclass(frozen=True)
class Diagonal(Rule):
    """Mean distance of the subject's mass from a diagonal: it stands on the diagonal, or stretches along it."""

    direction: str = choice(NEAREST, (NEAREST, "falling", "rising"), help="falling: upper left to lower right. rising: the other one.")

    def __call__(self, scene: ComposedScene) -> Tensor:
        height, width = scene.mass.shape[-2:]
        x, y = ((torch.arange(n, device=scene.mass.device, dtype=scene.mass.dtype) + 0.5) / n for n in (width, height))
        unit = height * width / (height**2 + width**2)  # of |x - y| in pixels across the diagonal, over the diagonal
        off = {"falling": x - y[:, None], "rising": 1 - x - y[:, None]}
        found = {name: (scene.mass * soft_root((each * unit) ** 2)).sum(dim=(1, 2)) for name, each in off.items()}
        return torch.minimum(found["falling"], found["rising"]) if self.direction == NEAREST else found[self.direction]

    def lines(self) -> list[Line]:
        both: dict[str, Line] = {"falling": (0.0, 0.0, 1.0, 1.0), "rising": (0.0, 1.0, 1.0, 0.0)}
        return list(both.values()) if self.direction == NEAREST else [both[self.direction]]


@dataclass(frozen=True)
class Balance(Rule):
    """Deviation of the center of visual weight from the middle (DCM of Hübner and Fillinger 2016), 0 to sqrt(2)."""

    weight: str = choice("saliency", VISUAL_WEIGHTS, help="What is heavy: what people look at, dark, or light pixels.")

    def __call__(self, scene: ComposedScene) -> Tensor:
        return soft_root(center_deviation(visual_weight(scene.images, scene.mass, self.weight)))

    def lines(self) -> list[Line]:
        return Centered().lines()

    def places(self) -> list[Place]:
        return [(0.5, 0.5)]


@dataclass(frozen=True)
class PreferenceForBalance(Rule):
    """Assessment of preference for balance (APB; Wilson and Chatterjee 2005), 0 to 1: how unequal the weight is about four axes."""

    weight: str = choice("saliency", VISUAL_WEIGHTS, help="What is heavy: what people look at, dark, or light pixels.")

    def __call__(self, scene: ComposedScene) -> Tensor:
        return preference_for_balance(visual_weight(scene.images, scene.mass, self.weight))

    def lines(self) -> list[Line]:
        return [*Centered().lines(), *Diagonal().lines()]


@dataclass(frozen=True)
class Symmetry(Rule):
    """1 - correlation of the image's lightness with that of its mirror image, 0 to 2; 0 for an image of one lightness."""

    axis: str = choice("left and right", ("left and right", "top and bottom", "both"), help="What mirrors what.")

    def __call__(self, scene: ComposedScene) -> Tensor:
        axes = {"left and right": (-1,), "top and bottom": (-2,), "both": (-1, -2)}[self.axis]
        return torch.stack([mirror_asymmetry(scene.images, axis) for axis in axes]).mean(0)

    def lines(self) -> list[Line]:
        down, across = Centered().lines()
        return {"left and right": [down], "top and bottom": [across], "both": [down, across]}[self.axis]


@dataclass(frozen=True)
class HeadRoom(Rule):
    """Difference between the room above the subject and the room wanted, as a part of the height."""

    room: float = number(0.1, at_least=0, at_most=1, help="Room above the subject, as a part of the image's height.")

    def __call__(self, scene: ComposedScene) -> Tensor:
        top = edges(scene.center, scene.spread)[0][:, 1]
        return soft_root((top - self.room) ** 2)

    def lines(self) -> list[Line]:
        return [(0.0, self.room, 1.0, self.room)]


@dataclass(frozen=True)
class LeadRoom(Rule):
    """Difference between the part of the free width that is in front of the subject and the part wanted."""

    facing: str = choice("right", ("right", "left"), help="Where the subject looks or moves.")
    share: float = number(2 / 3, at_least=0, at_most=1, help="Part of the free width that is to be in front of the subject.")

    def __call__(self, scene: ComposedScene) -> Tensor:
        start, end = edges(scene.center, scene.spread)
        left, right = start[:, 0].clamp(min=0), (1 - end[:, 0]).clamp(min=0)
        front = right if self.facing == "right" else left
        # One per cent of the width keeps the share defined where the subject fills the image; it then counts as half.
        return soft_root(((front + 0.005) / (left + right + 0.01) - self.share) ** 2)


@dataclass(frozen=True)
class SubjectSize(Rule):
    """How many times larger or smaller the subject is than wanted: |ln(size / wanted size)|."""

    size: float = number(0.2, above=0, at_most=1, help="Part of the image that the subject takes, by the box with its spread.")

    def __call__(self, scene: ComposedScene) -> Tensor:
        area = 12 * scene.spread.prod(1)
        return soft_root((area / self.size).log() ** 2)


def covered(count: int, start: float, end: float, like: Tensor) -> Tensor:
    """Which part of each of ``count`` pixels along a line lies between two relative places: ``(count,)`` in [0, 1]."""
    left = torch.arange(count, device=like.device, dtype=like.dtype)
    return (torch.clamp(left + 1, max=end * count) - torch.clamp(left, min=start * count)).clamp(min=0)


RULES: dict[str, type[Rule]] = {
    "rule of thirds": RuleOfThirds,
    "golden section": GoldenSection,
    "centered": Centered,
    "point": Point,
    "box": Box,
    "diagonal": Diagonal,
    "balance": Balance,
    "preference for balance": PreferenceForBalance,
    "symmetry": Symmetry,
    "head room": HeadRoom,
    "lead room": LeadRoom,
    "subject size": SubjectSize,
}
