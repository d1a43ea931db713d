"""Which frames of a video are scored. All of them are made of one noise, and their losses are averaged."""

from __future__ import annotations

from dataclasses import dataclass

from ..schema.ranged import Ranged, choice, count

CHOICES = ("spread", "first", "middle", "last", "every", "all")


@dataclass(frozen=True)
class Frames(Ranged):
    """Which frames of a video are scored.

    - ``"spread"``: ``count`` frames, the middles of as many equal stretches of the video; all where there are no more than ``count``.
    - ``"first"``, ``"middle"``, ``"last"``: one.
    - ``"every"``: every ``count``-th, beginning with the first.
    - ``"all"``.

    The default is this project's choice: a reward's cost is that of its frames, neighbors tell it nearly the same, and one frame alone says
    nothing of the rest of the video.

    Raises:
        ValueError: for another choice, or a count below 1.
    """

    choice: str = choice("spread", CHOICES, help="Which frames of a video are scored.")
    count: int = count(4, at_least=1, help="How many of them ('spread'), or every how many ('every').")

    def numbers(self, total: int) -> list[int]:
        """The frames, from 0 and in order, that are scored of a video of ``total`` frames, at least 1."""
        if self.choice == "spread" and self.count < total:
            return [(2 * part + 1) * total // (2 * self.count) for part in range(self.count)]
        single = {"first": 0, "middle": total // 2, "last": total - 1}
        if self.choice in single:
            return [single[self.choice]]
        return list(range(0, total, self.count if self.choice == "every" else 1))
