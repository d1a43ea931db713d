"""Graph-based visual saliency in closed form.

Harel, Koch, Perona, "Graph-Based Visual Saliency", NIPS 2006. Every feature map becomes a graph whose nodes are the cells of a
small lattice and whose edges join unlike cells that are near each other; a random walk on it dwells where a cell differs from its
surroundings. The weights here are symmetric, and the stationary distribution of a random walk on a symmetric graph is the nodes'
degree (row sum), so that no eigenvector is needed and gradients are finite.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from kornia.color import rgb_to_lab
from torch import Tensor
from torch.nn import functional

from ..image_ops.blur import blur
from ..image_ops.resize import fit_size, resize, shrink
from .entries import Entry
from .filters import gabor_energy
from .interface import SaliencyModel
from .maps import divide_by_maximum

# Differences of features (of about unit range) below this are faint: half a gray level.
FAINT = 2e-3
# What is added to the mean degree, as a feature whose cells all differ by this would have it, and to the sum of walks, whose mean is 1.
_FLOOR, _CONSTANT = 5e-3, 2e-2


def node_degrees(features: Tensor, sigma: float) -> Tensor:
    """Return each lattice cell's degree in the graph with the weights ``|a_i - a_j| exp(-d_ij^2 / (2 sigma^2))``.

    Of differences below ``FAINT`` only a part is counted, so that the rounding of a constant feature is not.

    Args:
        features: (N, h, w), one graph each.
        sigma: reach of an edge, in cells.

    Returns:
        (N, h, w), at least 0; exactly 0 for a constant feature.
    """
    height, width = features.shape[-2:]
    rows = torch.arange(height, device=features.device, dtype=features.dtype)
    columns = torch.arange(width, device=features.device, dtype=features.dtype)
    near_rows = torch.exp(-((rows[:, None] - rows) ** 2) / (2 * sigma * sigma))
    near_columns = torch.exp(-((columns[:, None] - columns) ** 2) / (2 * sigma * sigma))
    near = torch.kron(near_rows, near_columns)
    flat = features.reshape(-1, height * width)
    # One graph at a time: a lattice of 32 x 32 cells has a million edges, which should stay in the cache.
    degrees = [(_distance(values[:, None], values[None, :]) * near).sum(1) for values in flat]
    return torch.stack(degrees).reshape(features.shape)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """|one - other| less half of ``FAINT``; below that, a parabola, so that what is hardly there counts less than fully."""
    one, other = torch.broadcast_tensors(one, other)
    return functional.smooth_l1_loss(one, other, reduction="none", beta=FAINT)


class GraphBasedSaliency(SaliencyModel):
    """Graph-based visual saliency of Lab colors and orientations, degree form.

    Args:
        lattice: longer side of the graph's lattice, cells.
        sigma: reach of the edges, as a part of the lattice's mean side.
        power: exponent of the summed map; larger concentrates it.
        blur_fraction: sigma of the final blur, as a part of the mean side.
    """

    name = "graph-based"
    kind = "bottom-up"

    side = 128  # pixels, the finest level: level 2 of an image of 512

    def __init__(self, lattice: int = 32, sigma: float = 0.15, power: float = 1.5, blur_fraction: float = 0.02) -> None:
        super().__init__()
        if lattice < 2 or sigma <= 0 or power <= 0 or blur_fraction < 0:
            raise ValueError(
                f"Graph-based saliency needs lattice >= 2, sigma > 0, power > 0, blur_fraction >= 0; "
                f"got {lattice}, {sigma}, {power}, {blur_fraction}."
            )
        self.lattice, self.sigma, self.power, self.blur_fraction = lattice, sigma, power, blur_fraction

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, h, w) maps on a grid of twice the lattice; the maximum of each is 1."""
        features = self._features(shrink(images, self.side))
        height, width = features.shape[-2:]
        mean_side = (height + width) / 2
        degrees = node_degrees(rearrange(features, "b c h w -> (b c) h w"), self.sigma * mean_side)
        degrees = rearrange(degrees, "(b c) h w -> b c h w", b=len(features))
        # A stationary distribution sums to 1. The floor keeps a feature without contrast (the colors of a gray image) at 0, and with the
        # constant makes the map of an image without any constant, and its gradient small.
        floor = _FLOOR * self.sigma**2 * mean_side**2 * 2 * math.pi
        walks = degrees / (degrees.mean(dim=(-2, -1), keepdim=True) + floor)
        total = walks.mean(dim=1, keepdim=True) + _CONSTANT
        concentrated = blur(resize(total**self.power, fit_size((height, width), 2 * self.lattice)), 2 * self.blur_fraction * mean_side)
        return divide_by_maximum(concentrated)

    def _features(self, images: Tensor) -> Tensor:
        """Return (B, 21, h, w): Lab and four orientations at three scales, on the lattice, in about unit range."""
        lattice = fit_size((images.shape[-2], images.shape[-1]), self.lattice)
        lattice = (min(lattice[0], images.shape[-2]), min(lattice[1], images.shape[-1]))
        level = rgb_to_lab(images) / 100
        found = []
        for _ in range(3):
            found.append(resize(torch.cat([level, gabor_energy(level[:, :1])], dim=1), lattice))
            level = resize(level, ((level.shape[-2] + 1) // 2, (level.shape[-1] + 1) // 2))
        return torch.cat(found, dim=1)


ENTRIES = [
    Entry(
        name="graph-based",
        kind="bottom-up",
        license="Apache-2.0",
        build=GraphBasedSaliency,
    )
]
