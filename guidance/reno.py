"""The weights of ReNO (arXiv 2406.04312, arguments.py and rewards/ of github.com/ExplainableML/ReNO) for four rewards."""

from __future__ import annotations

from collections.abc import Sequence

from .objective import Objective

RENO = "ReNO"
# Of the cosine and of ImageReward. There CLIP and PickScore are multiplied by their logit scale of 100 first, and then by .01 and .05.
WEIGHTS = {"HPS": 5.0, "ImageReward": 1.0, "PickScore": 5.0, "CLIP": 1.0}


def reno_terms(terms: Sequence[tuple[float, Objective]]) -> list[tuple[float, Objective]]:
    """Each weight times ReNO's for the reward of its objective; cosines count as ``1 - cosine``, as there.

    Raises:
        ValueError: for an objective that is none of ReNO's rewards.
    """
    found = list[tuple[float, Objective]]()
    for number, (weight, objective) in enumerate(terms, start=1):
        reward, measured_by = getattr(objective, "reward", None), getattr(objective, "measured_by", None)
        name = family(reward) if callable(measured_by) else None
        if name is None or measured_by is None:
            raise ValueError(
                f"ReNO has weights for {', '.join(WEIGHTS)}, and objective {number} is none of them; connect a Saliency CLIP Loss with one "
                "of these rewards, or set weights to factors."
            )
        found.append((weight * WEIGHTS[name], measured_by("cosine")))
    return found


def family(reward: object) -> str | None:
    """Which of ReNO's rewards this is, by its kind, and PickScore by the name of its folder; ``None`` for another."""
    kind, name = str(getattr(reward, "kind", "")), str(getattr(reward, "name", "")).lower()
    for known in ("HPS", "ImageReward"):
        if kind.startswith(known):
            return known
    if not hasattr(reward, "encode_text") or "siglip" in f"{kind} {name}".lower().removeprefix("clip, siglip or pickscore"):
        return None
    return "PickScore" if "pick" in name else "CLIP"
