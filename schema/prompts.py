"""Prompts as lists of sentences."""

from __future__ import annotations

from collections.abc import Sequence


def plain_prompts(prompts: Sequence[str], what: str) -> list[str]:
    """The prompts without white space around them. Raises ``ValueError`` if one is empty; ``what`` names them."""
    stripped = [prompt.strip() for prompt in prompts]
    for number, prompt in enumerate(stripped, start=1):
        if not prompt:
            which = f"{what} {number} of {len(stripped)}" if len(stripped) > 1 else what
            raise ValueError(f"The {which} is empty; write what the image is to show.")
    return stripped


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
