"""Photographs for trying saliency on. Nobody claims a right in them; all three are among scikit-image's examples.

``astronaut``: Eileen Collins, by NASA, in the public domain. ``cat``: Chelsea, by Stefan van der Walt, CC0. ``coffee``: by Rachel Michetti,
courtesy of Pikolo Espresso Bar, CC0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.jpg")))


def photograph(name: str) -> Tensor:
    """One of ``NAMES`` as an image (1, 3, H, W), float32 in [0, 1]. Raises ValueError for another name."""
    if name not in NAMES:
        raise ValueError(f"There is no photograph {name!r}; there are {', '.join(NAMES)}.")
    with Image.open(FOLDER / f"{name}.jpg") as file:
        pixels = torch.from_numpy(np.array(file.convert("RGB")))
    return pixels.movedim(-1, 0)[None].float() / 255
