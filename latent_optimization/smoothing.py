"""Gradients averaged over nearby noises: a loss that is steep and bent at the scale of a step, seen at that scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..schema.ranged import Ranged, count, number
from .per_image import finite, spread
from .random_streams import Streams, draw_normal


@dataclass(frozen=True)
class Smoothing(Ranged):
    """The gradient of the mean loss over the noise x itself and ``draws`` noises near it, (x + sigma e) / sqrt(1 + sigma^2) with e normal.

    Randomized smoothing, of Duchi, Bartlett and Wainwright (arXiv 1103.4296), with gradients; the divisor, which is ours, leaves Gaussian
    noise Gaussian. All are scored with the same augmentations. Each draw costs one more run of the sampler and one more backward.

    Raises:
        ValueError: for a number outside its range.
    """

    draws: int = count(3, at_least=1, help="How many nearby noises. Each costs as much as the iteration without them.")
    sigma: float = number(0.02, above=0, help="How far away they are, in standard deviations of white noise.")

    def average(
        self, gradient: Tensor, noise: Tensor, wanted: Sequence[bool], streams: Sequence[Streams], near: Callable[[Tensor], Tensor | None]
    ) -> Tensor:
        """The mean of ``gradient (B, ...)``, of the loss at ``noise``, and of what ``near`` gives for noises near it.

        A nearby gradient that is not finite is left out of its image's mean; images that are not ``wanted`` keep their gradient.
        """
        divisor = (1 + self.sigma**2) ** 0.5
        total, counted = gradient, torch.ones(len(noise))
        for _ in range(self.draws):
            drawn = torch.zeros_like(noise)
            # Drawn for no others, so that an image's own noises do not depend on whether its neighbors go on.
            for index in (index for index, each in enumerate(wanted) if each):
                drawn[index] = draw_normal([streams[index].nearby], noise[index : index + 1])[0]
            found = near((noise + self.sigma * drawn) / divisor)
            if found is None:
                continue
            usable = [ok and each for ok, each in zip(finite(found), wanted, strict=True)]
            total = total + torch.where(spread(usable, found), found / divisor, 0)
            counted += torch.tensor(usable)
        return total / spread(counted, total)
