"""What an objective says about finished images: numbers, a table, and drawings."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..guidance.drawn import drawing
from ..guidance.objective import Context


def objective_scores(objective: Any, images: Tensor) -> tuple[list[float], dict[str, list[float]], Tensor]:
    """Ask an objective about each image, without augmentations.

    Args:
        objective: a ``guidance.objective.Objective``.
        images: ``(B, 3, H, W)`` in [0, 1]; rounded to 8 bits, as they would be saved.

    Returns:
        The losses, lower is better; its parts by name; and drawings ``(B, 3, h, w)`` of what it measured.
    """
    losses: list[float] = []
    parts: dict[str, list[float]] = {}
    drawn: list[Tensor] = []
    objective.begin()
    with torch.no_grad():
        for index in range(len(images)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            image = (images[index : index + 1].float().clamp(0, 1) * 255).round() / 255
            context = Context(index=index, batch_size=len(images))
            scored = objective(image, context)
            losses.append(float(scored.losses[0]))
            for name, values in scored.parts.items():
                parts.setdefault(name, []).append(float(values[0]))
            drawn.append(drawing(objective, image, context))
    objective.begin()
    return losses, parts, torch.cat(drawn)


def score_table(losses: list[float], parts: dict[str, list[float]]) -> str:
    """One line for each image with its loss and its parts, and the mean below more than one."""
    columns = {"loss": losses, **parts}
    widths = {name: max(10, len(name)) for name in columns}
    lines = ["image  " + "  ".join(f"{name:>{width}}" for name, width in widths.items())]
    for row in range(len(losses)):
        lines.append(f"{row + 1:5d}  " + "  ".join(f"{columns[name][row]:{width}.4f}" for name, width in widths.items()))
    if len(losses) > 1:
        lines.append(" mean  " + "  ".join(f"{sum(columns[name]) / len(losses):{width}.4f}" for name, width in widths.items()))
    return "\n".join(lines)
