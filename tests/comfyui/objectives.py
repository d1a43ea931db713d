"""Objectives for tests, which need no weights."""

from __future__ import annotations

from collections.abc import Callable

from sgool.guidance.augmentations import Augmentations
from sgool.guidance.objective import Context, Scored
from torch import Tensor


class Red:
    """The redder the better. ``on_call`` is told the number of each call and may interfere."""

    def __init__(self, on_call: Callable[[int], None] | None = None) -> None:
        self.calls = 0
        self.on_call = on_call

    def begin(self) -> None:
        pass

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Red:
        return self

    def __call__(self, images: Tensor, context: Context) -> Scored:
        self.calls += 1
        if self.on_call is not None:
            self.on_call(self.calls)
        losses = (images[:, 0] - 1).square().mean((1, 2)) + images[:, 1:].square().mean((1, 2, 3))
        return Scored(losses, {"red": images[:, 0].mean((1, 2)).detach()})
