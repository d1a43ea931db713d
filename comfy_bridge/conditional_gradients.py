"""Gradients through the conditional part of a guided model call alone: what the guider runs besides is a constant.

With classifier-free guidance a call evaluates the model for the prompt and for the negative prompt. Through the first alone, backward is
half the work.
"""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
from comfy.patcher_extension import WrappersMP
from torch import Tensor


class ConditionalOnly:
    """Wraps core's ``calc_cond_batch``: the positive conditioning is evaluated first and with history, the others after it and without.

    In that order a call that is recomputed in backward ends before the others, as soon as it has everything that it wants.
    """

    def __init__(self, guider: Any) -> None:
        self._guider = guider

    def __call__(self, executor: Any, model: Any, conds: list[Any], x: Tensor, *rest: Any) -> list[Tensor]:
        """As core calls it; ``x (B, ...)``, one result like it for each of ``conds``."""
        if not x.requires_grad or sum(each is not None for each in conds) < 2:
            return executor(model, conds, x, *rest)
        place = self._place(conds)
        # The others' places stay, with nothing in them: a patch may ask whether it is at the first or the second.
        found = executor(model, [each if i == place else None for i, each in enumerate(conds)], x, *rest)
        others = executor(model, [None if i == place else each for i, each in enumerate(conds)], x.detach(), *rest)
        return [found[place] if i == place else each for i, each in enumerate(others)]

    def _place(self, conds: list[Any]) -> int:
        """Of the conditioning that the guider calls positive; the first, where it calls none so."""
        positive = getattr(self._guider, "conds", {}).get("positive")
        return next((i for i, each in enumerate(conds) if each is not None and each is positive), 0)


def add_to(model_options: dict[str, Any], guider: Any) -> None:
    """Have calls with these options, which are written into, take gradients through the conditional part alone."""
    wrapper = ConditionalOnly(guider)
    comfy.patcher_extension.add_wrapper(WrappersMP.CALC_COND_BATCH, wrapper, model_options, is_model_options=True)
