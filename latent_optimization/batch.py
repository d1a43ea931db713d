"""The images of a run together: each goes its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .per_image import finite
from .score import Score
from .settings import Settings
from .top_k import TopK
from .trajectory import Iterate, Trajectory


class Batch:
    """One trajectory for each of ``count`` images.

    Args:
        top: shown every iterate that is kept.

    Attributes:
        images: the trajectories, in order.
    """

    def __init__(self, count: int, settings: Settings, top: TopK | None = None) -> None:
        self._top = top or TopK()
        self.images = [Trajectory(settings) for _ in range(count)]

    @property
    def active(self) -> list[bool]:
        """Which images are still being optimized."""
        return [image.active for image in self.images]

    def add(self, iteration: int, scores: Sequence[Score], noise: Tensor, latent: Tensor, rejected: Sequence[bool]) -> None:
        """Note the active images' iterates, of ``noise`` and ``latent (B, ...)``, but for those that are taken back."""
        kept = [image.active and not back for image, back in zip(self.images, rejected, strict=True)]
        for image, score, one_noise, one_latent, wanted in zip(self.images, scores, noise, latent, kept, strict=True):
            if wanted:
                image.add(iteration, score.loss, one_noise, one_latent)
        self._top.iterate(iteration, noise, latent, kept)

    def check(self, iteration: int, scores: Sequence[Score], gradient: Tensor | None = None) -> list[bool]:
        """Which images' losses, and gradients ``(B, ...)`` where given, are finite; with gradients, stop those that are to stop."""
        sound = [True] * len(self.images) if gradient is None else finite(gradient)
        good = [score.finite and ok for score, ok in zip(scores, sound, strict=True)]
        for image, score, ok in zip(self.images, scores, good, strict=True):
            if image.active and gradient is not None:
                image.check(iteration, score.loss, ok)
            elif image.active and not ok:
                image.failed(iteration)
        return good

    def choose(self, noise: Tensor, latent: Tensor, rescore: Callable[[int, Iterate], float]) -> tuple[Tensor, Tensor, list[int]]:
        """The noises and latents that are returned, as batches of the dtype and device of ``noise`` and ``latent``, and their iterations.

        ``rescore`` gives the loss of an image's iterate with fresh augmentations.
        """
        chosen = [image.choose(_bind(rescore, index)) for index, image in enumerate(self.images)]
        noises = torch.stack([iterate.noise.to(noise.device) for iterate in chosen]).to(noise.dtype)
        latents = torch.stack([iterate.latent.to(latent.device) for iterate in chosen])
        return noises, latents, [iterate.iteration for iterate in chosen]

    def messages(self, returned: Sequence[int]) -> list[str]:
        """Sentences for the user where something went wrong or ended early."""
        numbered = enumerate(zip(self.images, returned, strict=True), start=1)
        return [sentence for number, (image, iteration) in numbered for sentence in image.message(f"Image {number}", iteration)]


def _bind(rescore: Callable[[int, Iterate], float], index: int) -> Callable[[Iterate], float]:
    return lambda iterate: rescore(index, iterate)
