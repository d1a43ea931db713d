"""Search without gradients: random neighbours of the noise on its sphere, kept where they score better."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from sgool.guidance.objective import Context, Objective
from torch import Tensor

ANGLE = 0.35  # radians between a noise and its neighbour, at first; smaller as the search goes on


class ZeroOrder:
    """(1 + 1) search: ``trials`` neighbours, each tried for every picture of the batch by itself."""

    def __init__(self, trials: int, pictures_of: Callable[[Tensor], Tensor], objective: Objective) -> None:
        self.trials, self.pictures_of, self.objective = trials, pictures_of, objective

    def run(self, noise: Tensor, first: int) -> Tensor:
        """The pictures (B, 3, H, W) that the best noises found give."""
        generators = [torch.Generator().manual_seed(first + i) for i in range(len(noise))]
        pictures = self.pictures_of(noise)
        losses = self._losses(pictures, generators)
        for trial in range(self.trials):
            angle = ANGLE * (1 - 0.7 * trial / self.trials)
            fresh = torch.stack([torch.randn(noise.shape[1:], generator=generator) for generator in generators])
            candidate = math.cos(angle) * noise + math.sin(angle) * fresh
            seen = self.pictures_of(candidate)
            scored = self._losses(seen, generators)
            better = (scored < losses)[:, None, None, None]
            noise, pictures = torch.where(better, candidate, noise), torch.where(better, seen, pictures)
            losses = torch.minimum(losses, scored)
        return pictures

    def _losses(self, pictures: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Each picture's loss with the same augmentations every time, so that luck with them decides nothing."""
        losses = []
        for index, generator in enumerate(generators):
            views = torch.Generator().manual_seed(generator.initial_seed() + 1)
            context = Context(0, views, torch.tensor([index]), len(pictures))
            losses.append(self.objective(pictures[index : index + 1], context).losses)
        return torch.cat(losses).detach()
