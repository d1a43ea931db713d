"""Wishes about light, each a number that is small where it is fulfilled. No accepted scores exist: these are formulas of this project,
except for exposure. Lightness is CIELAB's, 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...image_ops.blur import blur
from ...schema.ranged import Ranged, choice, number
from .color_rules import WHERE, WHERE_HELP
from .view import View

COMPASS = ("left", "upper left", "above", "upper right", "right", "lower right", "below", "lower left")
RIM = 0.04  # sigma of the rim's blur, of the shorter side
FLAT = 0.02  # difference of lightness across the image below which it has no direction


def light_slope(view: View) -> Tensor:
    """``(B, 2)``: by how much lightness rises across the subject's pixels to the right and down, per image side (least squares)."""
    weights, light = view.weights("subject"), view.lightness
    height, width = light.shape[-2:]
    slopes = []
    for count, axis in ((width, -1), (height, -2)):
        place = (torch.arange(count, device=light.device, dtype=light.dtype) + 0.5) / count
        place = place.expand_as(light) if axis == -1 else place[:, None].expand_as(light)
        centered = place - (weights * place).sum((1, 2), keepdim=True)
        # The twelfth of a pixel keeps a line of one pixel defined.
        slopes.append((weights * centered * light).sum((1, 2)) / ((weights * centered**2).sum((1, 2)) + 1 / (12 * count**2)))
    return torch.stack(slopes, dim=1)


@dataclass(frozen=True)
class KeyDirection(Ranged):
    """1 - cosine between where the light comes from and where it is to come from: 0 to 2, and 1 for even light.

    It comes from the side toward which lightness rises over the image, or over the subject where one is given.
    """

    needs_subject: ClassVar[bool] = False
    direction: str = choice("left", COMPASS, help="Where the light comes from.")

    def wanted(self) -> tuple[float, float]:
        """x and y, down, of the direction."""
        angle = math.pi - COMPASS.index(self.direction) * math.pi / 4
        return math.cos(angle), -math.sin(angle)

    def __call__(self, view: View) -> Tensor:
        slope = light_slope(view)
        return 1 - (slope * slope.new_tensor(self.wanted())).sum(1) / ((slope**2).sum(1) + FLAT**2).sqrt()


@dataclass(frozen=True)
class BackLight(Ranged):
    """How much of the wanted difference, ground lighter than subject, is missing."""

    needs_subject: ClassVar[bool] = True
    difference: float = number(0.3, above=0, at_most=1, help="By how much the ground is to be lighter; 1 is black on white.")

    def __call__(self, view: View) -> Tensor:
        return (self.difference - view.mean(view.lightness, "ground") + view.mean(view.lightness, "subject")).clamp(min=0)


@dataclass(frozen=True)
class RimLight(Ranged):
    """How much of the wanted difference, the subject's inner edge lighter than its inside, is missing."""

    needs_subject: ClassVar[bool] = True
    difference: float = number(0.3, above=0, at_most=1, help="By how much the subject's edge is to be lighter than its inside.")

    def __call__(self, view: View) -> Tensor:
        inside = blur(view.maps, RIM * min(view.maps.shape[-2:]))[:, 0]
        edge, core = view.maps[:, 0] * (1 - inside) + 1e-6, view.maps[:, 0] * inside**4 + 1e-6
        light = [(view.lightness * part / part.sum((1, 2), keepdim=True)).sum((1, 2)) for part in (edge, core)]
        return (self.difference - light[0] + light[1]).clamp(min=0)


@dataclass(frozen=True)
class Shadows(Ranged):
    """Hardness of edges of lightness, 0 to 1 (or 1 - it): the mean step from a pixel to the next, weighted by the steps themselves."""

    needs_subject: ClassVar[bool] = False
    wish: str = choice("soft", ("soft", "hard"), help="soft: light and shadow pass gently into each other. hard: they meet in edges.")
    where: str = choice("image", WHERE, help=WHERE_HELP)

    def __call__(self, view: View) -> Tensor:
        light, weights = view.lightness, view.weights(self.where)
        right = torch.diff(light, dim=-1, append=light[..., -1:])
        down = torch.diff(light, dim=-2, append=light[..., -1:, :])
        step = ((right**2 + down**2) + 1e-8).sqrt() - 1e-4
        hardness = (weights * step**2).sum((1, 2)) / ((weights * step).sum((1, 2)) + 1e-4)
        return hardness if self.wish == "soft" else 1 - hardness


@dataclass(frozen=True)
class Key(Ranged):
    """Mean distance of lightness from white (high key) or black (low key), 0 to 1."""

    needs_subject: ClassVar[bool] = False
    wish: str = choice("low key", ("low key", "high key"), help="low key: mostly dark. high key: mostly light.")
    where: str = choice("image", WHERE, help=WHERE_HELP)

    def __call__(self, view: View) -> Tensor:
        mean = view.mean(view.lightness, self.where)
        return mean if self.wish == "low key" else 1 - mean


@dataclass(frozen=True)
class Exposure(Ranged):
    """1 - mean well-exposedness, ``exp(-(l - level)^2 / (2 * 0.2^2))`` (Mertens, Kautz and Van Reeth 2007, section 3.1), 0 to 1."""

    needs_subject: ClassVar[bool] = False
    level: float = number(0.5, at_least=0, at_most=1, help="Lightness that is wanted: 0.5 as published.")
    where: str = choice("image", WHERE, help=WHERE_HELP)

    def __call__(self, view: View) -> Tensor:
        return 1 - view.mean(torch.exp(-((view.lightness - self.level) ** 2) / (2 * 0.2**2)), self.where)


LIGHT_RULES: dict[str, type[Ranged]] = {
    "key direction": KeyDirection,
    "back light": BackLight,
    "rim light": RimLight,
    "shadows": Shadows,
    "key": Key,
    "exposure": Exposure,
}
