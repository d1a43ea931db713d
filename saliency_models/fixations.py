"""Fixations: where eyes rested, as points or as maps.

In the libraries a fixation is (row, column), whole pixels from 0, row 0 at the top. Each image has its own number of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..image_ops.blur import blur

Fixations = Tensor | Sequence[Tensor]
"""Of a batch: a list with an (N, 2) tensor of (row, column) per image (float places are rounded down, a place may come twice); or a
fixation map (B, 1, H, W) or (B, H, W), where each pixel above 0.5 is one fixation; or, for one image, one (N, 2) tensor."""


def as_maps(maps: Tensor, what: str = "saliency map") -> Tensor:
    """Return maps given as (H, W), (B, H, W) or (B, 1, H, W) as (B, H, W) float64.

    Raises:
        ValueError: another shape, no pixels, or values that are NaN or infinite.
    """
    if maps.dim() == 4 and maps.shape[1] == 1:
        maps = maps[:, 0]
    elif maps.dim() == 2:
        maps = maps[None]
    if maps.dim() != 3 or 0 in maps.shape:
        raise ValueError(f"Expected each {what} as (batch, 1, height, width) with at least one pixel; got {tuple(maps.shape)}.")
    if not bool(torch.isfinite(maps).all()):
        raise ValueError(f"The {what} holds NaN or infinite values; no metric is defined for it.")
    return maps.detach().double()


def as_points(fixations: Fixations, batch: int, size: tuple[int, int]) -> list[Tensor]:
    """Return each image's fixations as an (N, 2) long tensor of (row, column).

    Args:
        fixations: see ``Fixations``.
        batch: number of images.
        size: their (height, width).

    Raises:
        ValueError: not of one of the accepted shapes, not one per image, or outside the image.
    """
    if isinstance(fixations, Tensor):
        one = fixations.dim() == 2 and fixations.shape[-1] == 2 and batch == 1 and size != tuple(fixations.shape)
        points = [fixations] if one else _points_of_map(fixations, size)
    else:
        points = list(fixations)
    if len(points) != batch:
        raise ValueError(f"There are fixations for {len(points)} images, and {batch} images; give one list of points for each image.")
    return [_checked(places, size, number) for number, places in enumerate(points)]


def _points_of_map(fixations: Tensor, size: tuple[int, int]) -> list[Tensor]:
    maps = as_maps(fixations, "fixation map")
    if tuple(maps.shape[-2:]) != size:
        raise ValueError(
            f"The fixation map is {maps.shape[-2]} x {maps.shape[-1]} (height x width), the saliency map {size[0]} x {size[1]}; "
            "they must be of one size. Points that are resized would move or merge: scale their coordinates instead."
        )
    return [(single > 0.5).nonzero() for single in maps]


def _checked(places: Tensor, size: tuple[int, int], number: int) -> Tensor:
    if places.numel() == 0:
        return torch.zeros(0, 2, dtype=torch.long)
    if places.dim() != 2 or places.shape[1] != 2:
        raise ValueError(f"Fixations are an (N, 2) tensor of (row, column); image {number} has {tuple(places.shape)}.")
    if not bool(torch.isfinite(places.double()).all()):
        raise ValueError(f"Image {number} has fixations that are NaN or infinite.")
    whole = places.double().floor().long().cpu()
    outside = (whole < 0).any(1) | (whole >= torch.tensor(size)).any(1)
    if bool(outside.any()):
        row, column = (round(value, 3) for value in places[outside.nonzero()[0, 0]].double().tolist())
        raise ValueError(
            f"{int(outside.sum())} of {len(whole)} fixations of image {number} lie outside it; the first is at row (y) {row}, column (x) "
            f"{column}, and the image has rows 0 to {size[0] - 1} and columns 0 to {size[1] - 1}. Are x and y swapped, or do the "
            "points belong to another size?"
        )
    return whole


def fixation_map(fixations: Fixations, batch: int, size: tuple[int, int]) -> Tensor:
    """Return (B, 1, H, W) float64 counts of the fixations of each pixel."""
    counts = torch.zeros(batch, 1, *size, dtype=torch.float64)
    for single, places in zip(counts, as_points(fixations, batch, size), strict=True):
        single[0].index_put_((places[:, 0], places[:, 1]), torch.ones(len(places), dtype=torch.float64), accumulate=True)
    return counts


def fixation_density(fixations: Fixations, batch: int, size: tuple[int, int], cycles: float = 8.0) -> Tensor:
    """Return (B, 1, H, W) float64: the fixations, blurred, with maximum 1 (zeros where there are none).

    The blur is the MIT benchmark's: a Gaussian that halves the amplitude at ``cycles`` per image, counted along the longer side
    (its ``antonioGaussian.m``), here with weights renormalized at the border. In pixels its sigma is
    ``sqrt(ln 2) / (sqrt(2) pi cycles)`` of the longer side: 0.0234 for 8 cycles.
    """
    if not cycles > 0:
        raise ValueError(f"The blur of the fixations has {cycles} cycles per image; it must be more than 0.")
    sigma = math.sqrt(math.log(2)) / (math.sqrt(2) * math.pi * cycles) * max(size)
    density = blur(fixation_map(fixations, batch, size), sigma)
    top = density.amax(dim=(-2, -1), keepdim=True)
    return density / torch.where(top > 0, top, torch.ones_like(top))
