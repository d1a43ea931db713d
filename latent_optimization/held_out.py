"""A second opinion: an objective that is watched and never optimized, before and after.

An optimizer, and a search as well, fools what it is led by: the standard test is a reward that was held out. It is asked about the noise
that was given, about the one that a search started from, and about what is returned, beside the objective itself, both about the images as
they are (without augmentations), so that the numbers can be compared. No gradient passes through it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .history import HeldOut
from .recorder import Recorder
from .score import Evaluate
from .scoring import Scorer

GIVEN, SEARCHED, RETURNED = "given", "searched", "returned"


class Watcher:
    """Asks about a batch at several places of a run; nothing where ``held_out`` is ``None``.

    Args:
        scorer: of the objective that is optimized.
        held_out: as ``evaluate`` of ``optimize``, asked without generator and at iteration 0.
        recorder: gets the answers.
    """

    def __init__(self, scorer: Scorer, held_out: Evaluate | None, recorder: Recorder) -> None:
        self._scorer, self._recorder = scorer, recorder
        self._held_out = Scorer(held_out, [], recorder) if held_out is not None else None

    def look(self, place: str, latents: Tensor | Sequence[Tensor]) -> None:
        """Ask about the latents ``(B, ...)`` of a place."""
        if self._held_out is None:
            return
        for index, latent in enumerate(latents):
            own = self._scorer.score_plainly(latent[None], index)
            other = self._held_out.score_plainly(latent[None], index)
            self._recorder.history.held_out.append(HeldOut(index, place, own.loss, other.loss, other.parts))

    def messages(self) -> list[str]:
        """A sentence for each image of which the two say the opposite, or the held-out one nothing."""
        found = []
        for image in range(self._recorder.history.images):
            looks = [look for look in self._recorder.history.held_out if look.image == image]
            if not looks:
                continue
            before, after = looks[0], looks[-1]
            if not (math.isfinite(before.loss) and math.isfinite(after.loss)):
                found.append(f"Image {image + 1}: the held-out loss is not a finite number, so it says nothing.")
            elif after.objective < before.objective and after.loss > before.loss:
                own, other = f"{before.objective:.4g} to {after.objective:.4g}", f"{before.loss:.4g} to {after.loss:.4g}"
                found.append(
                    f"Image {image + 1}: the loss that was optimized fell ({own}), but the held-out one rose ({other}): the first may have "
                    "been fooled. Compare the images before you believe it."
                )
        return found
