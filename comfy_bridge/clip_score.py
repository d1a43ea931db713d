"""How well images fit prompts, as numbers and as a table."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..guidance.encoders import check_widths, plain_prompts

AT_ONCE = 8


def clip_score(scorer: Any, images: Tensor, prompts: list[str]) -> list[float]:
    """The cosine between each image and its prompt, in [-1, 1].

    Args:
        scorer: a ``comfy_bridge.scorers.Scorer``.
        images: ``(B, 3, H, W)`` in [0, 1]; rounded to 8 bits, as they would be saved.
        prompts: one for all images or one for each.

    Raises:
        ValueError: an empty prompt, or another number of prompts.
    """
    prompts = plain_prompts(prompts, "prompt")
    if len(prompts) not in (1, len(images)):
        there = f"{len(images)} image{'s' if len(images) > 1 else ''}"
        raise ValueError(f"There are {len(prompts)} prompts for {there}; give one for all images, or one for each.")
    text = scorer.encode_text(prompts)
    vectors = []
    for some in images.split(AT_ONCE):
        comfy.model_management.throw_exception_if_processing_interrupted()
        vectors.append(scorer.encode_image(some).to(text))
    image = torch.cat(vectors)
    check_widths(text, image)
    return [float(value) for value in (image * text).sum(-1)]


def table(scores: list[float], prompts: list[str]) -> str:
    """One line for each image, and the mean below more tha one."""
    lines = ["image  similarity  prompt"]
    for number, score in enumerate(scores, start=1):
        lines.append(f"{number:7d}  {score:10.4f}  {prompts[number - 1] if len(prompts) > 1 else prompts[0]}")
    if len(scores) > 1:
        lines.append(f"   mean  {sum(scores) / len(scores):10.4f}")
    return "\n".join(lines)
