"""Steps as long as the gradient holds: the fall of the loss that came of a step, against the fall that the gradient promised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..schema.ranged import Ranged, number


@dataclass(frozen=True)
class TrustRegion(Ranged):
    """How an image's steps become shorter and longer, and which are kept.

    After Nocedal and Wright, *Numerical Optimization* (2nd ed.), algorithm 4.1, with the first-order model: ``ratio`` is the actual fall of
    the loss over ``-gradient . step``, both with the same augmentations. A step that did not lower the loss is taken back, and the next one
    from the same noise is shorter. Theirs are a ``poor`` of 1/4, a ``good`` of 3/4, ``expand`` 2 and ``shrink`` 1/4. The rule's own step is
    the first region; factors are of its length.

    Raises:
        ValueError: for a number outside its range, or a ``poor`` above ``good``.
    """

    poor: float = number(0.25, at_least=0, below=1, help="Below this part of the promised fall the next step is shorter.")
    good: float = number(0.75, above=0, at_most=1, help="Above this part of the promised fall the next step is longer.")
    shrink: float = number(0.25, above=0, below=1, help="Factor of the steps that are made shorter.")
    expand: float = number(2.0, at_least=1, help="Factor of the steps that are made longer.")
    longest: float = number(1.0, above=0, help="Most that steps may become, in lengths of the rule's own step.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.poor > self.good:
            raise ValueError(f"poor is {self.poor:g} and good is {self.good:g}; poor has to be at most good.")

    def next_factor(self, factor: float, actual: float, predicted: float) -> float:
        """The factor of the steps after one of ``factor`` that lowered the loss by ``actual``, where ``predicted`` was promised.

        Where the gradient promised no fall (momentum may lead uphill), steps keep their length if the loss fell.
        """
        if not actual > 0 or (predicted > 0 and actual < self.poor * predicted):
            return factor * self.shrink
        if predicted > 0 and actual > self.good * predicted:
            return max(factor, min(factor * self.expand, self.longest))
        return factor


@dataclass(frozen=True)
class StepVerdict:
    """What came of each image's last step.

    Attributes:
        fall: of what is minimized, under the same augmentations; NaN where there was no step or its end has no finite loss.
        rejected: whether the step is to be taken back: the loss is finite and did not fall.
    """

    fall: list[float]
    rejected: list[bool]

    @classmethod
    def none(cls, images: int) -> StepVerdict:
        """No step was judged."""
        return cls([math.nan] * images, [False] * images)

    @classmethod
    def of(cls, before: Sequence[float], after: Sequence[float]) -> StepVerdict:
        """For what is minimized before and after each step; NaN where there is nothing to compare."""
        fall = [old - new for old, new in zip(before, after, strict=True)]
        return cls(fall, [math.isfinite(each) and not each > 0 for each in fall])


def predicted_fall(gradient: Tensor, step: Tensor) -> list[float]:
    """``-gradient . step`` of each image of two tensors ``(B, ...)``."""
    return [-float(value) for value in (gradient * step).flatten(1).sum(dim=1)]
