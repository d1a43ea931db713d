"""Images of a batch that somebody picks, or the best of them where nobody does."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import ui
from torch import Tensor

from .plain_runs import joined
from .questions import ask, can_be_asked

DIFFERENT = "There are {images} images for {rows} latents: connect latent and images of the same node."
SCORES = "There are {scores} scores for {rows} images: connect scores and images of the same node, or leave scores unconnected."
SEVERAL_PARTS = "This latent has several parts (such as image and sound), of which images cannot be picked."


@dataclass
class Picked:
    """Those to go on with.

    Attributes:
        latent: LATENT.
        images: IMAGE; of videos all frames, one video after another.
        numbers: of each its place in the batch, from 0.
    """

    latent: dict[str, Any]
    images: Tensor
    numbers: list[int]


def pick(latent: dict[str, Any], images: Tensor, scores: Sequence[float] | None, keep: int, seconds: float) -> Picked:
    """Ask somebody which images to go on with; see :mod:`.questions` for when that is not done.

    Args:
        latent: LATENT of ``n`` images or videos.
        images: IMAGE ``(n * frames, H, W, C)``. Of a video its middle frame is shown.
        scores: of each, higher is better; ``None``: the first ones are the best.
        keep: how many of the best are taken where nobody picks.
        seconds: how long is waited; 0: not at all.

    Raises:
        ValueError: where there are not as many latents, images and scores.
        comfy.model_management.InterruptProcessingException: the run was canceled.
    """
    samples = latent["samples"]
    if samples.is_nested:
        raise ValueError(SEVERAL_PARTS)
    rows = len(samples)
    if not len(images) or len(images) % rows:
        raise ValueError(DIFFERENT.format(images=len(images), rows=rows))
    if scores is not None and len(scores) != rows:
        raise ValueError(SCORES.format(scores=len(scores), rows=rows))
    frames = images.unflatten(0, (rows, -1))
    numbers = best(scores, rows, keep)
    if rows > 1 and seconds > 0 and can_be_asked():
        files = ui.PreviewImage(frames[:, frames.shape[1] // 2]).values
        shown = {"images": files, "captions": [caption(number, scores) for number in range(rows)], "best": numbers}
        chosen, why = ask(rows, seconds, shown)
        numbers = chosen or numbers
        logging.info("SGOOL Pick: %s of %d images, %s.", ", ".join(str(number + 1) for number in numbers), rows, why)
    kept = joined(latent, [(number, samples[number : number + 1]) for number in numbers], rows)
    return Picked(kept, frames[numbers].flatten(0, 1), numbers)


def best(scores: Sequence[float] | None, count: int, keep: int) -> list[int]:
    """The ``keep`` of ``count`` images with the highest scores, or the first ones where there are none, in their order."""
    numbers = list(range(count))
    if scores is not None:
        numbers.sort(key=lambda number: -scores[number] if math.isfinite(scores[number]) else math.inf)
    return sorted(numbers[:keep])


def caption(number: int, scores: Sequence[float] | None) -> str:
    """What stands below an image, counted from 1 as on the contact sheet."""
    if scores is None:
        return f"{number + 1}."
    return f"{number + 1}.  {scores[number]:.4f}" if math.isfinite(scores[number]) else f"{number + 1}.  no score"
