"""What is optimized: a function from images to one loss per image, and the weighted sum of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .augmentations import Augmentations


@dataclass(frozen=True)
class Context:
    """Where in a run an objective is asked.

    Attributes:
        iteration: iteration of the optimizer; 0 is before the first update.
        generator: a CPU generator that augmentations draw from. ``None`` asks for the score without any randomness.
        index: the place of the first of the images in the run's batch; the others follow it.
        batch_size: how many images the run's batch has, where that is known.
        frame: which of a video's scored frames the image is, from 0; 0 for an image.
    """

    iteration: int = 0
    generator: torch.Generator | None = None
    index: int = 0
    batch_size: int | None = None
    frame: int = 0

    def choose(self, available: int, images: int, what: str) -> list[int]:
        """Which of ``available`` prompts or masks belongs to each of ``images`` images: the only one, or the one of its place in the batch.

        Raises:
            ValueError: for another number than one or the batch's; ``what`` names them.
        """
        if available == 1:
            return [0] * images
        batch = self.index + images if self.batch_size is None else self.batch_size
        if available != batch:
            there = f"{batch} image{'s' if batch > 1 else ''}"
            raise ValueError(f"There are {available} {what} for {there}; give one for all images, or one for each.")
        return list(range(self.index, self.index + images))


@dataclass(frozen=True)
class Scored:
    """What an objective says about ``B`` images.

    Attributes:
        losses: ``(B,)``, lower is better, differentiable in the images.
        parts: name -> ``(B,)`` detached numbers for the history.
    """

    losses: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """A differentiable judgment of images ``(B, 3, H, W)`` in [0, 1]; the loss of each depends on that image alone."""

    def begin(self) -> None:
        """Forget whatever was cached in an earlier run."""

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Objective:
        """The same objective scored on other augmentations, as a copy; itself where it scores none.

        Args:
            augmentations: the random ones.
            reduce: how their losses become one: ``"mean"`` or ``"minimum"``.
            region: how a salient part is shown, see ``regions``; ``None`` leaves that.
        """

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Score the images; lower is better."""


class WeightedSum:
    """The sum of objectives, each times its weight.

    A term of weight 0 is never called. Parts keep their names; where two terms report the same name, the later one is
    numbered (``"global"``, ``"global 2"``).

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

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Objective:
        """The sum of the terms' own changed copies; itself where none changes."""
        terms = [(weight, term.augmented(augmentations, reduce, region)) for weight, term in self.terms]
        changed = any(new is not old for (_, new), (_, old) in zip(terms, self.terms, strict=True))
        return WeightedSum(terms) if changed else self

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Return the weighted sum of the terms' losses, their parts side by side."""
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for weight, term in self.terms:
            scored = term(images, context)
            weighted = weight * scored.losses
            total = weighted if total is None else total + weighted.to(total)
            for name, values in scored.parts.items():
                parts[_free_name(name, parts)] = values
        assert total is not None  # __init__ refuses an empty sum
        return Scored(total, parts)


def _free_name(name: str, taken: dict[str, Tensor]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free
