"""Everything that the loop reads: how the noise is optimized, when it stops, what it returns."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from ..schema.ranged import Ranged, choice, count, flag, number
from . import renormalize
from .regularizers import Regularizer
from .smoothing import Smoothing
from .trust_region import TrustRegion
from .update_rules import UpdateRule
from .update_rules.normalized_gradient import NormalizedGradient


@dataclass(frozen=True)
class Stopping(Ranged):
    """Early stop, judged for each image by its own losses.

    Args:
        target_loss: stop once the loss is at or below this; ``None`` for no target.

    Raises:
        ValueError: for a number outside its range.
    """

    patience: int = count(0, at_least=0, help="Stop an image after this many iterations without improvement; 0: never.")
    min_improvement: float = number(0.0, at_least=0, help="By how much a loss must fall below the lowest before to count as improvement.")
    max_failures: int = count(3, at_least=1, help="Stop an image after this many losses or gradients in a row that are not finite.")
    target_loss: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_loss is not None and math.isnan(self.target_loss):
            raise ValueError("The target loss is not a number; give a loss to stop at, or none.")


@dataclass(frozen=True)
class Settings(Ranged):
    """How the noise is optimized. Immutable; ``dataclasses.replace`` makes a changed copy, validated again.

    Args:
        rule: how a gradient becomes a step (update_rules/).
        smoothing: averages gradients over nearby noises (smoothing.py); ``None`` takes that of the noise alone.
        trust_region: lets steps be as long as the gradient holds, and keeps those alone that lower the loss (trust_region.py); ``None``
            keeps every step as the rule makes it.
        regularizer: a loss of the noise itself, added with its weight (regularizers.py); ``None`` for none.
        stopping: early stop, and how many failures end an image.

    Raises:
        ValueError: for a value outside its range, with what was expected.
    """

    iterations: int = count(10, at_least=0, help="How often the noise is improved. Each costs about as much as sampling three times.")
    rule: UpdateRule = field(default_factory=NormalizedGradient)
    smoothing: Smoothing | None = None
    precondition: str = choice(
        "none", ("none", "white"), help="What is done to the gradient first: 'white' projects it to the spectrum of white noise."
    )
    trust_region: TrustRegion | None = None
    renormalize: str = choice(
        "initial",
        renormalize.MODES,
        help="What the noise keeps after each step: its own norm, a Gaussian's norm, a white spectrum, or nothing.",
    )
    regularizer: Regularizer | None = None
    best_of: int = count(
        1, at_least=1, help="Start from the best of this many noises, chosen by the objective; the first is the seed's own."
    )
    # Off, since that is cheaper and no worse: nothing is optimized against the reward in a search (docs/does-it-work.md).
    search_augmented: bool = flag(
        False, help="For best_of: score the augmentations of the iterations. Off: score images as they are, which is cheaper."
    )
    stopping: Stopping = field(default_factory=Stopping)
    returned: str = choice(
        "last",
        ("last", "best", "rescored"),
        help="Which iterate is returned for each image: the last, that of the lowest loss, or the best when rescored with fresh "
        "augmentations.",
    )
    rescoring_candidates: int = count(4, at_least=1, help="How many iterates are rescored: the last and those of the lowest losses.")
    rescoring_augmentations: int = count(4, at_least=1, help="How many scores are averaged for each; the same augmentations for all.")

    @property
    def changes_noise(self) -> bool:
        """Whether there is anything to do but sample once."""
        return self.iterations > 0 or self.best_of > 1

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values; a rule or regularizer also has its ``"name"``."""
        plain = asdict(self)
        for part in ("rule", "regularizer"):
            if isinstance(plain[part], dict):
                plain[part]["name"] = type(getattr(self, part)).__name__
        return plain
