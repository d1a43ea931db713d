"""The optimization's plot as an IMAGE."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..latent_optimization.history import History
from ..latent_optimization.plot import draw, panels_of


def plot_image(history: History) -> Tensor:
    """The course of a run, ``(1, H, W, 3)`` float32 in [0, 1]."""
    count = "1 image" if history.images == 1 else f"{history.images} images"
    return _to_image(draw(panels_of(history), heading=f"SGOOL: {max(0, len(history.rows) - 1)} iterations, {count}"))


def blank_plot(reason: str) -> Tensor:
    """What there is to show for a run without one: a line that says why."""
    return _to_image(draw([], heading=f"SGOOL: {reason}", height=80))


def _to_image(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255.0)[None]
