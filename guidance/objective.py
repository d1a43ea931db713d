"""What is optimized: a function from images to one loss per image, and the weighted sum of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Context:
    """Where in a run an objective is asked.

    Attributes:
        iteration: iteration of the optimizer; 0 is before the first update.
        generator: a CPU generator that augmentations draw from. ``None`` asks for the score without any randomness.
        indices: ``(B,)`` long, on the CPU: which images of the run's batch these are. ``None`` means all, in order.
        batch_size: how many images the run's batch has, where that is known and ``indices`` does not tell.
    """

    iteration: int = 0
    generator: torch.Generator | None = None
    indices: Tensor | None = None
    batch_size: int | None = None

    def positions(self, count: int) -> list[int]:
        """The place of each of ``count`` images in the run's batch. Raises ``ValueError`` if ``indices`` is of another length."""
        if self.indices is None:
            return list(range(count))
        if self.indices.ndim != 1 or len(self.indices) != count:
            raise ValueError(
                f"Context.indices has the shape {tuple(self.indices.shape)} for {count} images; give one index for each image."
            )
        return [int(index) for index in self.indices]


@dataclass(frozen=True)
class Scored:
    """What an objective says about ``B`` images.

    Attributes:
        losses: ``(B,)``, lower is better, differentiable in the images.
        parts: name -> ``(B,)`` detached numbers for the history.
        maps: ``(B, 1, H, W)`` in [0, 1], detached: the saliency or region that was used, for previews. ``None`` without one.
    """

    losses: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    maps: Tensor | None = None


@runtime_checkable
class Objective(Protocol):
    """A differentiable judgment of images ``(B, 3, H, W)`` in [0, 1]; the loss of each depends on that image alone."""

    def begin(self) -> None:
        """Forget whatever was cached in an earlier run."""

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Score the images; lower is better."""


class WeightedSum:
    """The sum of objectives, each times its weight.

    A term of weight 0 is never called. Parts keep their names; where two terms report the same name, the later one is
    numbered (``"global"``, ``"global 2"``). The maps are those of the first term that has any.

    Raises:
        ValueError: without terms, with a weight that is not finite, or if all weights are zero.
    """

    def __init__(self, terms: Sequence[tuple[float, Objective]]) -> None:
        if not terms:
            raise ValueError("There is no objective to combine; connect at least one.")
        for weight, _ in terms:
            if not math.isfinite(weight):
                raise ValueError(f"The weight of an objective is {weight}; it has to be a finite number.")
        self.terms = [(float(weight), term) for weight, term in terms if weight != 0]
        if not self.terms:
            raise ValueError("The weights of all objectives are zero, so there is nothing to optimize; set one of them above zero.")

    def begin(self) -> None:
        """Forget whatever the terms cached in an earlier run."""
        for _, term in self.terms:
            term.begin()

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Return the weighted sum of the terms' losses, their parts side by side."""
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        maps: Tensor | None = None
        for weight, term in self.terms:
            scored = term(images, context)
            weighted = weight * scored.losses
            total = weighted if total is None else total + weighted.to(total)
            for name, values in scored.parts.items():
                parts[_free_name(name, parts)] = values
            maps = scored.maps if maps is None else maps
        assert total is not None  # __init__ refuses an empty sum
        return Scored(total, parts, maps)


def _free_name(name: str, taken: dict[str, Tensor]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free
