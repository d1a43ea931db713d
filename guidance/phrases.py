"""The parts of a prompt that name one thing each, to hold each against the part of an image that shows it."""

from __future__ import annotations

import re

from ..schema.prompts import says_something

TOGETHER = "and", "with"
WHERE = "next to", "beside", "near", "above", "below", "over", "under", "behind", "in front of", "(?:to the )?(?:left|right) of"
BETWEEN = re.compile(rf"[;,\n，。；、]|\.(?!\d)|\b(?:{'|'.join(TOGETHER + WHERE)})\b", re.IGNORECASE)
"""What stands between things in English: punctuation, and words for together and for where. Not "of", "in" and "on", which join what
belongs to one thing ("a glass of milk", "a woman in red")."""


def given(prompt: str) -> list[str]:
    """The phrases that somebody put semicolons between, at least one."""
    return _stripped(prompt.split(";")) or [prompt]


def named_in(prompt: str) -> list[str]:
    """The phrases of a sentence or of a list of words, at least one."""
    return _stripped(BETWEEN.split(prompt)) or [prompt]


def _stripped(parts: list[str]) -> list[str]:
    return [phrase for part in parts if says_something(phrase := part.strip())]
