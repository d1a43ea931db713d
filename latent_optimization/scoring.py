"""Asking the objective about latents, one image at a time.

One at a time because augmentations are drawn from one generator a call: so each image has its own, and gets what it would get alone. It
also keeps no more tha one decoded image's graph alive. Images that have stopped cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Evaluate = Callable[[Tensor, int, torch.Generator | None, Tensor], tuple[Tensor, dict[str, Tensor]]]


@dataclass
class Score:
    """What the objective said about one image: its loss, named parts, and, if asked for, the gradient in its latent ``(1, ...)``."""

    loss: float = math.nan
    parts: dict[str, float] | None = None
    gradient: Tensor | None = None

    @property
    def finite(self) -> bool:
        """Whether the loss, and the gradient if there is one, are finite."""
        return math.isfinite(self.loss) and (self.gradient is None or bool(torch.isfinite(self.gradient).all()))


class Scorer:
    """Calls ``evaluate`` and counts the calls (one per image), with a latent of one image and its index in the batch."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self.evaluations = 0

    def score(self, latent: Tensor, index: int, iteration: int, generator: torch.Generator | None, *, with_gradient: bool = False) -> Score:
        """Score image ``index`` of ``latent (B, ...)``. A latent that is not finite has the loss NaN without being asked about."""
        one = latent[index : index + 1].detach()
        one = one.to(torch.promote_types(one.dtype, torch.float32))
        if not bool(torch.isfinite(one).all()):
            return Score()
        if not with_gradient:
            with torch.no_grad():
                losses, parts = self._call(one, index, iteration, generator)
            return Score(float(losses.detach()[0]), _numbers(parts))
        with torch.inference_mode(False), torch.enable_grad():
            leaf = one.requires_grad_()
            losses, parts = self._call(leaf, index, iteration, generator)
            if not losses.requires_grad:
                raise ValueError("The objective's loss has no gradient in the image, so it cannot be optimized; use another objective.")
            (gradient,) = torch.autograd.grad(losses.sum(), leaf, allow_unused=True)
        if gradient is None:
            raise ValueError("The objective's loss does not depend on the image, so it cannot be optimized; use another objective.")
        return Score(float(losses.detach()[0]), _numbers(parts), gradient.detach())

    def _call(self, latent: Tensor, index: int, iteration: int, generator: torch.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        losses, parts = self._evaluate(latent, iteration, generator, torch.tensor([index]))
        self.evaluations += 1
        if losses.shape != (1,):
            raise ValueError(f"The objective returned losses of shape {tuple(losses.shape)} for one image; expected (1,).")
        return losses, parts


def _numbers(parts: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(values.reshape(-1)[0]) for name, values in parts.items()}
