"""Prompts that differ from a prompt in one thing: what an optimizer must not confuse it with."""

from __future__ import annotations

import re

_RELATIONS = {"left of": "right of", "above": "below", "on top of": "under", "in front of": "behind"}
_OTHER_WAY = {**_RELATIONS, **{b: a for a, b in _RELATIONS.items()}}
_JOINT = re.compile(rf"( and |, | {' | '.join(sorted(_OTHER_WAY, key=len, reverse=True))} )")


def near_misses(prompt: str) -> list[str]:
    """Wrong variants of a prompt made of phrases: one phrase left out, the nouns of two exchanged, a relation turned round.

    A phrase is what stands between "and", commas and relations; its last word counts as its noun. A prompt of one phrase has none.
    """
    pieces = _JOINT.split(prompt)
    phrases, joints = pieces[::2], pieces[1::2]
    found = [_without(phrases, joints, i) for i in range(len(phrases)) if len(phrases) > 1]
    for i in range(len(phrases)):
        for j in range(i):
            found.append(_join(_exchanged(phrases, i, j), joints))
    for i, joint in enumerate(joints):
        if joint.strip() in _OTHER_WAY:
            found.append(_join(phrases, [*joints[:i], f" {_OTHER_WAY[joint.strip()]} ", *joints[i + 1 :]]))
    return [text for text in dict.fromkeys(found) if text != prompt]


def _without(phrases: list[str], joints: list[str], i: int) -> str:
    kept = [phrase for k, phrase in enumerate(phrases) if k != i]
    # The joint beside it goes as well; what a relation was between is joined by a plain "and".
    left = [" and " if joint.strip() in _OTHER_WAY and k in (i - 1, i) else joint for k, joint in enumerate(joints)]
    del left[min(i, len(left) - 1)]
    return _join(kept, left)


def _exchanged(phrases: list[str], i: int, j: int) -> list[str]:
    (a, noun_a), (b, noun_b) = (phrases[k].rpartition(" ")[::2] for k in (i, j))
    out = list(phrases)
    out[i], out[j] = f"{a} {noun_b}".strip(), f"{b} {noun_a}".strip()
    return out


def _join(phrases: list[str], joints: list[str]) -> str:
    return "".join(x for pair in zip(phrases, [*joints, ""], strict=True) for x in pair)
