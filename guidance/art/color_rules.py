"""Wishes about color, each a number that is small where it is fulfilled, in CIELAB (kornia's conversion)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar

import torch
from kornia.color import rgb_to_lab
from torch import Tensor

from ...image_ops.resize import shrink
from ...schema.ranged import Ranged, choice, flag, number
from .hues import BINS, GRAY, TEMPLATES, chroma_and_hue, hue_histogram, template_tables
from .view import View

WHERE = ("image", "subject", "ground")
WARM_HUE = math.radians(60)  # orange, in CIELAB
DIRECTIONS = 16  # of the sliced Wasserstein distance
WHERE_HELP = "Which pixels count. subject and ground need a saliency model or a mask."


@dataclass(frozen=True)
class Harmony(Ranged):
    """Mean arc, weighted by chroma, from each pixel's hue to the nearest sector of a template, over half the wheel: 0 to 1.

    Cohen-Or et al. 2006, equation 1, with chroma in the place of saturation, and with the best rotation of the template. Gray is 0. The
    penalty for a sector that is nearly empty is of this project: one hue alone would else count as complementary.
    """

    needs_subject: ClassVar[bool] = False
    template: str = choice("complementary", tuple(TEMPLATES), help="Which hues go together: sectors of the hue wheel.")
    least_share: float = number(0.15, at_least=0, at_most=0.33, help="Least part of the color in each sector; 0 is as published.")
    fit: bool = flag(True, help="On: the template is turned to where it fits best. Off: its first sector is at hue.")
    hue: float = number(0, at_least=0, at_most=360, help="Degrees on CIELAB's wheel: 0 crimson, 90 yellow, 180 green, 270 blue.")
    where: str = choice("image", WHERE, help=WHERE_HELP)

    def costs(self, view: View) -> Tensor:
        """``(B, rotations)``."""
        histogram = hue_histogram(view.lab, view.weights(self.where))
        total = histogram.sum(1, keepdim=True)
        part = histogram / (total + GRAY)
        arcs, nearest = template_tables(self.template, histogram)
        shares = torch.einsum("bk,srk->sbr", part, nearest)
        missing = (self.least_share * (total / (total + GRAY)) - shares).clamp(min=0).sum(0)
        return part @ arcs.T + missing

    def rotation(self, view: View) -> Tensor:
        """``(B,)`` bins by which the template is turned."""
        if self.fit:
            return self.costs(view).argmin(1)
        return torch.full((len(view.images),), round(self.hue / 360 * BINS) % BINS, device=view.images.device)

    def __call__(self, view: View) -> Tensor:
        return self.costs(view).gather(1, self.rotation(view)[:, None])[:, 0]


class Palette:
    """Sliced Wasserstein distance between the image's colors and those wanted, in CIELAB over 100 (Bonneel et al. 2015; as guidance:
    arXiv 2503.19034). Every wanted color counts alike: two of them are to fill half the image each.

    Args:
        colors: ``(n, 3)`` RGB in [0, 1].
        where: which pixels count.
    """

    needs_subject = False

    def __init__(self, colors: Tensor, where: str = "image") -> None:
        if colors.ndim != 2 or colors.shape[1] != 3 or not len(colors):
            raise ValueError("The palette has no colors; give some as hex, or a reference image.")
        if where not in WHERE:
            raise ValueError(f"where is {where!r}; it has to be one of {', '.join(WHERE)}.")
        with torch.inference_mode(False):
            self.colors = colors.detach().clone().float().clamp(0, 1)
        self.where = where

    def __call__(self, view: View) -> Tensor:
        wanted = rgb_to_lab(self.colors.to(view.images).T[None, :, :, None])[0, :, :, 0].T / 100
        have, weights = view.lab.flatten(2).mT, view.weights(self.where).flatten(1)
        directions = sphere(DIRECTIONS, have)
        goals = (wanted @ directions.T).sort(dim=0).values
        lines, order = (have @ directions.T).sort(dim=1)
        parts = weights[..., None].expand_as(lines).gather(1, order)
        middle = parts.cumsum(1) - parts / 2  # the quantile of each pixel
        index = (middle * len(goals)).long().clamp(0, len(goals) - 1)
        target = goals.expand(len(lines), -1, -1).gather(1, index)
        return ((parts * (lines - target) ** 2).sum(1).mean(1) + 1e-8).sqrt() - 1e-4


@dataclass(frozen=True)
class Temperature(Ranged):
    """1 - (or +, for cold) the mean of chroma * cos(hue - orange) over the mean chroma: 0 to 2, and 1 for gray."""

    needs_subject: ClassVar[bool] = False
    wish: str = choice("warm", ("warm", "cold"), help="warm: toward orange. cold: toward the blue opposite.")
    where: str = choice("image", WHERE, help=WHERE_HELP)

    def __call__(self, view: View) -> Tensor:
        a, b = view.mean(view.lab[:, 1:], self.where).unbind(1)
        chroma = view.mean(chroma_and_hue(view.lab)[0], self.where)
        warmth = (a * math.cos(WARM_HUE) + b * math.sin(WARM_HUE)) / (chroma + GRAY)
        return 1 - warmth if self.wish == "warm" else 1 + warmth


@dataclass(frozen=True)
class Saturation(Ranged):
    """Difference between the mean chroma (over 100) and the one wanted."""

    needs_subject: ClassVar[bool] = False
    chroma: float = number(0.4, at_least=0, at_most=1.3, help="Mean chroma over 100: 0 gray, 0.2 muted, 0.4 colorful, 0.8 gaudy.")
    where: str = choice("image", WHERE, help=WHERE_HELP)

    def __call__(self, view: View) -> Tensor:
        return (view.mean(chroma_and_hue(view.lab)[0], self.where) - self.chroma).abs()


@dataclass(frozen=True)
class ColorContrast(Ranged):
    """How much of the wanted distance (CIELAB over 100) between the mean colors of subject and ground is missing."""

    needs_subject: ClassVar[bool] = True
    difference: float = number(0.5, above=0, at_most=2, help="Wanted distance; black and white are 1 apart, complementary paints 1 to 2.")
    of: str = choice("color and lightness", ("color and lightness", "color", "lightness"), help="What is to differ.")

    def __call__(self, view: View) -> Tensor:
        apart = view.mean(view.lab, "subject") - view.mean(view.lab, "ground")
        apart = {"color and lightness": apart, "color": apart[:, 1:], "lightness": apart[:, :1]}[self.of]
        return (self.difference - ((apart**2).sum(1) + 1e-8).sqrt()).clamp(min=0)


def sphere(count: int, like: Tensor) -> Tensor:
    """``(count, 3)`` unit vectors spread evenly over half a sphere (Fibonacci's lattice): a direction and its opposite slice alike."""
    z = (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count
    angle = torch.arange(count, device=like.device, dtype=like.dtype) * math.pi * (3 - math.sqrt(5))
    flat = (1 - z**2).sqrt()
    return torch.stack([z, flat * angle.cos(), flat * angle.sin()], dim=1)


def colors_of(images: Tensor) -> Tensor:
    """``(n, 3)`` colors of reference images ``(B, 3, H, W)`` of any size, small."""
    return shrink(images.float(), 64).movedim(1, -1).reshape(-1, 3)


def hex_colors(text: str) -> Tensor:
    """``(n, 3)`` RGB in [0, 1] of ``#rrggbb`` or ``#rgb``, with spaces, commas or lines between. Raises ``ValueError`` for other words."""
    words = [word for word in re.split(r"[\s,;]+", text.strip()) if word]
    found = []
    for word in words:
        digits = word.removeprefix("#")
        if not re.fullmatch(r"[0-9a-fA-F]{6}|[0-9a-fA-F]{3}", digits):
            raise ValueError(f"{word!r} is not a color; write colors as #rrggbb, such as #e07a2f, with spaces between.")
        full = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
        found.append([int(full[at : at + 2], 16) / 255 for at in (0, 2, 4)])
    return torch.tensor(found).reshape(-1, 3)


COLOR_RULES: dict[str, type[Ranged]] = {
    "harmony": Harmony,
    "temperature": Temperature,
    "saturation": Saturation,
    "subject contrast": ColorContrast,
}
