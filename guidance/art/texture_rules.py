"""Wishes about brushwork and texture, without any weights to download: statistics of random features, and the structure tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ...image_ops.blur import blur
from ...image_ops.resize import resize, shrink
from ...schema.ranged import Ranged, choice, number
from .color_rules import WHERE, WHERE_HELP
from .view import View

SIDE = 128  # longer side of the copy whose texture is measured
FILTERS, KERNEL, SCALES = 32, 7, 3
SEED = 1
FAINTEST = 1e-6  # sum of squares of a reference's matrices that no distance is relative to
FAINT = 1e-4  # mean squared step of lightness below which there are no strokes
WIDEST = 0.1  # sigma, of the shorter side: what is smoother is no stroke


class TextureStatistics:
    """Distance between the image's texture and that of references: of Gram matrices of rectified random filters, at three scales.

    One layer of random filters at several scales is enough for texture synthesis: Ustyuzhaninov, Brendel, Gatys and Bethge, What does it
    take to generate natural textures? (ICLR 2017); the Gram matrix is that of Gatys, Ecker and Bethge (2015). Each scale's distance is
    relative to the reference's own matrix, so that 0 is the same and about 1 unlike.

    Args:
        references: ``(B, 3, H, W)`` in [0, 1], of any size; their matrices are averaged.
        subject, ground: weights of the two parts, at least 0; where nobody said where the subject is, the whole image has their sum.

    Raises:
        ValueError: a weight below 0, or both 0; references of one color.
    """

    needs_subject = False

    def __init__(self, references: Tensor, subject: float = 1.0, ground: float = 1.0) -> None:
        if not (math.isfinite(subject + ground) and subject >= 0 and ground >= 0 and subject + ground > 0):
            raise ValueError(f"The weights of subject and ground are {subject} and {ground}; set one above zero, and none below.")
        self.subject, self.ground = subject, ground
        with torch.inference_mode(False), torch.no_grad():
            small = shrink(references.detach().clone().float().clamp(0, 1), SIDE)
            even = torch.full_like(small[:, 0], 1 / small[:, 0].numel() * len(small))
            self.wanted = [gram.mean(0) for gram in gram_matrices(small, even)]
        if max(float((gram**2).sum()) for gram in self.wanted) < FAINTEST:
            raise ValueError("The texture's reference is of one color, or nearly so: there is no texture to be like. Take another image.")

    def __call__(self, view: View) -> Tensor:
        parts = [("subject", self.subject), ("ground", self.ground)] if view.has_subject else [("image", self.subject + self.ground)]
        losses = [weight * self._distance(view, where) for where, weight in parts if weight]
        return torch.stack(losses).sum(0) / (self.subject + self.ground)

    def _distance(self, view: View, where: str) -> Tensor:
        distances = []
        for gram, wanted in zip(gram_matrices(view.images, view.weights(where)), self.wanted, strict=True):
            goal = wanted.to(gram)
            distances.append(((gram - goal) ** 2).sum((1, 2)) / ((goal**2).sum() + FAINTEST))
        return torch.stack(distances).mean(0)


def gram_matrices(images: Tensor, weights: Tensor) -> list[Tensor]:
    """``(B, FILTERS, FILTERS)`` of each scale; scale n is shrunk n times by two. ``weights (B, h, w)`` sum to one."""
    generator = torch.Generator().manual_seed(SEED)
    filters = torch.randn(FILTERS, 3, KERNEL, KERNEL, generator=generator, dtype=torch.float64)
    filters = filters - filters.mean((2, 3), keepdim=True)  # blind to color and light as such
    filters = (filters / filters.flatten(1).norm(dim=1)[:, None, None, None]).to(images)
    grams = []
    for scale in range(SCALES):
        size = tuple(max(1, side // 2**scale) for side in images.shape[-2:])
        small, mass = resize(images, (size[0], size[1])), resize(weights[:, None], (size[0], size[1]))
        mass = mass / mass.sum((2, 3), keepdim=True)
        features = functional.conv2d(functional.pad(small, [KERNEL // 2] * 4, mode="replicate"), filters).relu()
        grams.append(torch.einsum("bchw,bdhw->bcd", features * mass, features))
    return grams


def structure_tensor(view: View, where: str) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted means ``(B,)`` of the squared steps of lightness to the right, down, and of their product (Bigun and Granlund 1987)."""
    light = view.lightness
    # Central differences of the pixels inside, where both neighbors are.
    padded = functional.pad(light[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    right = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    return view.mean(right**2, where), view.mean(down**2, where), view.mean(right * down, where)


@dataclass(frozen=True)
class StrokeDirection(Ranged):
    """``(1 - coherence * cos 2(angle of strokes - angle wanted)) / 2``, of the structure tensor: 0 all that way, 1 all across, and 0.5 for
    no direction."""

    needs_subject: ClassVar[bool] = False
    angle: float = number(45, at_least=0, at_most=180, help="Degrees of the strokes: 0 flat, 90 upright, 45 rising to the right.")
    where: str = choice("image", WHERE, help=WHERE_HELP)

    def __call__(self, view: View) -> Tensor:
        across, down, both = structure_tensor(view, self.where)
        # Twice the gradient's angle, y up; strokes run at a right angle to it, hence the sign.
        twice = torch.stack([down - across, 2 * both], dim=1) / (across + down + FAINT)[:, None]
        wanted = twice.new_tensor([math.cos(math.radians(2 * self.angle)), math.sin(math.radians(2 * self.angle))])
        return (1 - (twice * wanted).sum(1)) / 2


@dataclass(frozen=True)
class StrokeScale(Ranged):
    """|ln(width / wanted width)| of strokes, by the wavelength ``2 pi sqrt(variance / mean squared slope)`` of lightness, whose half is a
    stroke; exact for a sine. Where lightness does not change the width is as wanted."""

    needs_subject: ClassVar[bool] = False
    width: float = number(0.05, above=0, at_most=0.5, help="Width of a stroke, as a part of the image's shorter side.")
    where: str = choice("image", WHERE, help=WHERE_HELP)

    def __call__(self, view: View) -> Tensor:
        shorter = min(view.images.shape[-2:])
        across, down, _ = structure_tensor(view, self.where)
        light = view.lightness[:, None]
        detail = (light - blur(light, max(1.0, WIDEST * shorter)))[:, 0]
        variance, slope = view.mean(detail**2, self.where), across + down
        wanted = (math.pi / (self.width * shorter)) ** 2  # squared slope over variance
        ratio = (slope + FAINT * wanted) / (variance + FAINT) / wanted
        return (ratio.log() ** 2 / 4 + 1e-8).sqrt() - 1e-4


STROKE_RULES: dict[str, type[Ranged]] = {"stroke direction": StrokeDirection, "stroke width": StrokeScale}
