"""Search without gradients: random neighbors of the noise on its sphere, kept where they score better."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from sgool.guidance.objective import Context, Objective
from torch import Tensor

ANGLE = 0.35  # radians between a noise and its neighbor, at first; smaller as the search goes on


class ZeroOrder:
    """(1 + 1) search: ``trials`` neighbors, each tried for every image of the batch by itself."""

    def __init__(self, trials: int, images_of: Callable[[Tensor], Tensor], objective: Objective) -> None:
        self.trials, self.images_of, self.objective = trials, images_of, objective

    def run(self, noise: Tensor, first: int) -> Tensor:
        """The images (B, 3, H, W) that the best noises found give."""
        generators = [torch.Generator().manual_seed(first + i) for i in range(len(noise))]
        images = self.images_of(noise)
        losses = self._losses(images, generators)
        for trial in range(self.trials):
            angle = ANGLE * (1 - 0.7 * trial / self.trials)
            fresh = torch.stack([torch.randn(noise.shape[1:], generator=generator) for generator in generators])
            candidate = math.cos(angle) * noise + math.sin(angle) * fresh
            seen = self.images_of(candidate)
            scored = self._losses(seen, generators)
            better = (scored < losses)[:, None, None, None]
            noise, images = torch.where(better, candidate, noise), torch.where(better, seen, images)
            losses = torch.minimum(losses, scored)
        return images

    def _losses(self, images: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Each image's loss with the same augmentations every time, so that luck with them decides nothing."""
        losses = []
        for index, generator in enumerate(generators):
            augmentations = torch.Generator().manual_seed(generator.initial_seed() + 1)
            context = Context(0, augmentations, torch.tensor([index]), len(images))
            losses.append(self.objective(images[index : index + 1], context).losses)
        return torch.cat(losses).detach()
