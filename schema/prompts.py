"""Prompts as lists of sentences."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

SHOWN = 80


def plain_prompts(prompts: Sequence[str], what: str) -> list[str]:
    """The prompts without white space around them. Raises ``ValueError`` if one says nothing; ``what`` names them."""
    stripped = [prompt.strip() for prompt in prompts]
    for number, prompt in enumerate(stripped, start=1):
        if not says_something(prompt):
            which = f"{what} {number} of {len(stripped)}" if len(stripped) > 1 else what
            how = f"{quoted(prompt)} has no words" if prompt else "is empty"
            raise ValueError(f"The {which} {how}; write what the image is to show.")
    return stripped


def says_something(text: str) -> bool:
    """Whether there is more in it than punctuation and white space: a letter, a digit or a pictograph."""
    return any(each.isalnum() or unicodedata.category(each) == "So" for each in text)


def quoted(text: str) -> str:
    """A text as a sentence quotes it: without its end where it is long."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def one_per_image(prompts: Sequence[str], images: int) -> list[str]:
    """One prompt for each of ``images`` images. Raises ``ValueError`` for another number than one or that."""
    if len(prompts) not in (1, images):
        there = f"{images} image{'s' if images > 1 else ''}"
        raise ValueError(f"There are {len(prompts)} prompts for {there}; give one for all images, or one for each.")
    return [prompts[0]] * images if len(prompts) == 1 else list(prompts)


def prompts_for(reward: object, prompts: Sequence[str], what: str) -> list[str]:
    """:func:`plain_prompts`; for a reward that reads none, of which ``reads_prompts`` is false, they may be empty."""
    if getattr(reward, "reads_prompts", True):
        return plain_prompts(prompts, what)
    return [prompt.strip() for prompt in prompts]
