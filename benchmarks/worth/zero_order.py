"""Search without gradients near a noise: its neighbors are sampled, and the best of them is the next to have neighbors.

Zero-order search of Ma et al., *Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps* (arXiv 2501.09732). How far a
neighbor is, and how many there are, is as in github.com/sayakpaul/tt-scale-flux (``generate_neighbors``, by courtesy of the paper's first
author): four of the noise's own norm at a cosine of .95 to it. Where none of them is better, the noise stays and gets others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Scored = tuple[Tensor, Tensor]
"""Images ``(n, 3, h, w)`` and their scores ``(n,)``."""


@dataclass(frozen=True)
class ZeroOrder:
    """How long to search.

    Attributes:
        start: noises of which the best is the first to have neighbors: the given one and fresh ones.
        rounds: of ``neighbors`` each.
        neighbors: sampled in a round.
        cosine: of a neighbor to the noise.
    """

    start: int = 1
    rounds: int = 8
    neighbors: int = 4
    cosine: float = 0.95

    @property
    def noises(self) -> int:
        """Sampled in all, for each image."""
        return self.start + self.rounds * self.neighbors

    def best(self, noise: Tensor, see: Callable[[Tensor], Scored], generators: Sequence[torch.Generator]) -> Tensor:
        """The images ``(n, 3, h, w)`` of the highest scores that were found from ``noise (n, ...)``, each image by itself."""
        images, scores = see(noise)
        for _ in range(self.start - 1):
            fresh = draw(noise, generators)
            noise, images, scores = _better(noise, images, scores, fresh, *see(fresh))
        for _ in range(self.rounds):
            pivot = noise
            for _ in range(self.neighbors):
                near = neighbor(pivot, draw(noise, generators), self.cosine)
                noise, images, scores = _better(noise, images, scores, near, *see(near))
        return images


def neighbor(noise: Tensor, fresh: Tensor, cosine: float) -> Tensor:
    """Noise ``(n, ...)`` turned toward ``fresh`` until it has that ``cosine`` to what it was, its norm unchanged."""
    flat, other = noise.flatten(1).double(), fresh.flatten(1).double()
    norms = flat.norm(dim=1, keepdim=True)
    along = flat / norms
    across = torch.nn.functional.normalize(other - (other * along).sum(dim=1, keepdim=True) * along, dim=1)
    return (norms * (cosine * along + math.sqrt(1 - cosine**2) * across)).reshape(noise.shape).to(noise)


def draw(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal noise of the shape of ``like (n, ...)``, each image's by its own generator."""
    return torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in generators])


def _better(noise: Tensor, images: Tensor, scores: Tensor, *other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    wins = other[2] > scores
    spread = wins[:, None, None, None]
    return torch.where(spread, other[0], noise), torch.where(spread, other[1], images), torch.where(wins, other[2], scores)
