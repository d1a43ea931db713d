"""How good images are by a reward, as numbers and as a table."""

from __future__ import annotations

from typing import Any

import comfy.model_management
from torch import Tensor

from ..schema.prompts import one_per_image, prompts_for

AT_ONCE = 8


def reward_scores(reward: Any, images: Tensor, prompts: list[str]) -> list[float]:
    """The reward of each image.

    Args:
        reward: a ``rewards.interface.Reward``.
        images: ``(B, 3, H, W)`` in [0, 1]; rounded to 8 bits, as they would be saved.
        prompts: one for all images or one for each.

    Raises:
        ValueError: an empty prompt, or another number of prompts.
    """
    prompts = one_per_image(prompts_for(reward, prompts, "prompt"), len(images))
    scores: list[float] = []
    for first in range(0, len(images), AT_ONCE):
        comfy.model_management.throw_exception_if_processing_interrupted()
        some = slice(first, first + AT_ONCE)
        scores += reward((images[some].clamp(0, 1) * 255).round() / 255, prompts[some]).tolist()
    return scores


def table(scores: list[float], prompts: list[str]) -> str:
    """One line for each image, and the mean below more than one."""
    lines = ["image      reward  prompt"]
    for number, score in enumerate(scores, start=1):
        lines.append(f"{number:5d}  {score:10.4f}  {prompts[number - 1] if len(prompts) > 1 else prompts[0]}")
    if len(scores) > 1:
        lines.append(f" mean  {sum(scores) / len(scores):10.4f}")
    return "\n".join(lines)
