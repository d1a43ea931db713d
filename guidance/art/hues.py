"""Hues weighted by chroma, and the harmony templates of the hue wheel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINS = 72
GRAY = 0.01  # mean chroma (over 100) below which color fades to nothing

# Centers and widths of sectors as parts of the wheel. Cohen-Or, Sorkine, Gal, Leyvand and Xu, Color Harmonization (2006), figure 2, whose
# letters are in brackets; "triadic" is of this project, with the narrow sectors of theirs.
TEMPLATES: dict[str, tuple[tuple[float, float], ...]] = {
    "identical": ((0.0, 0.05),),  # i
    "analogous": ((0.0, 0.26),),  # V
    "complementary": ((0.0, 0.05), (0.5, 0.05)),  # I
    "split complementary": ((0.0, 0.26), (0.5, 0.05)),  # Y
    "double complementary": ((0.0, 0.26), (0.5, 0.26)),  # X
    "right angle": ((0.0, 0.05), (0.25, 0.22)),  # L
    "half wheel": ((0.0, 0.5),),  # T
    "triadic": ((0.0, 0.05), (1 / 3, 0.05), (2 / 3, 0.05)),
}


def chroma_and_hue(lab: Tensor) -> tuple[Tensor, Tensor]:
    """``(B, h, w)`` chroma >= 0 and hue in radians, -pi to pi, of ``(B, 3, h, w)`` Lab. Gray has the hue 0, and no gradient of it."""
    a, b = lab[:, 1], lab[:, 2]
    square = a**2 + b**2
    gray = square < 1e-8
    safe = torch.where(gray, torch.ones_like(a), a)
    hue = torch.where(gray, torch.zeros_like(a), torch.atan2(torch.where(gray, torch.zeros_like(b), b), safe))
    return torch.where(gray, torch.zeros_like(a), torch.where(gray, torch.ones_like(a), square).sqrt()), hue


def hue_histogram(lab: Tensor, weights: Tensor) -> Tensor:
    """Chroma of each hue: ``(B, BINS)`` whose sum is the mean chroma, of weights ``(B, h, w)`` that sum to one; bin k is at k / BINS."""
    chroma, hue = chroma_and_hue(lab)
    place = (hue / (2 * math.pi) * BINS).flatten(1)[..., None]
    away = (place - torch.arange(BINS, device=lab.device, dtype=lab.dtype) + BINS / 2) % BINS - BINS / 2
    return ((chroma * weights).flatten(1)[..., None] * (1 - away.abs()).clamp(min=0)).sum(1)


def template_tables(template: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """For every rotation of a template (by a bin each): the distance of each bin from the nearest sector, and which sector that is.

    Returns:
        ``(rotations, BINS)`` arcs over half the wheel, 0 inside of sectors; and ``(sectors, rotations, BINS)`` zeros and ones.
    """
    bins = torch.arange(BINS, device=like.device, dtype=like.dtype) / BINS
    arcs = []
    for center, width in TEMPLATES[template]:
        from_center = ((bins - bins[:, None] - center + 0.5) % 1 - 0.5).abs()
        arcs.append((from_center - width / 2).clamp(min=0) * 2)
    found = torch.stack(arcs)
    nearest = torch.nn.functional.one_hot(found.argmin(0), len(arcs)).movedim(-1, 0).to(like)
    return found.amin(0), nearest
