"""What every saliency predictor of the pack is: pictures in, maps of the same size out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .pictures import check_pictures, resize

Kind = Literal["fixation", "salient object", "attention", "bottom-up"]
"""What a map means: where people look ("fixation", learned from eye tracking), which object stands out ("salient object",
learned from masks), where a network attends ("attention", not trained for saliency), or local contrast ("bottom-up", not learned)."""

KINDS: tuple[str, ...] = get_args(Kind)


class SaliencyModel(nn.Module, ABC):
    """Base of all predictors: ``model(pictures) -> maps``.

    Calling checks the pictures, computes in at least float32, and returns a map for each picture, of its size, dtype and
    device, in [0, 1], differentiable in the pixels and deterministic. A predictor implements ``predict``.

    Attributes:
        name: the name in the registry.
        kind: what its maps mean, see ``Kind``.
        needs_weights: whether it was loaded from a file, or computes without.
    """

    name: str = ""
    kind: Kind = "bottom-up"
    needs_weights: bool = False

    def forward(self, pictures: Tensor) -> Tensor:
        """Predict a saliency map for each picture.

        Args:
            pictures: (B, 3, H, W) float in [0, 1], RGB; (B, 1, H, W) grey and (B, 4, H, W) RGBA are taken too. Any size, any
                batch but an empty one, any float dtype. Pixels a little outside [0, 1] (a decoder's overshoot) are computed with
                as they are, so that their gradient is not cut.

        Returns:
            (B, 1, H, W) in [0, 1], dtype and device of ``pictures``. A picture in which nothing stands out gets a constant map.

        Raises:
            ValueError: pictures of another shape or dtype, an empty batch, or pixels that are NaN or infinite.
        """
        checked = check_pictures(pictures)
        working = checked if checked.dtype == torch.float64 else checked.float()
        maps = self.predict(working)
        if maps.shape[-2:] != pictures.shape[-2:]:
            maps = resize(maps, (pictures.shape[-2], pictures.shape[-1]))
        return maps.to(pictures.dtype)

    @abstractmethod
    def predict(self, pictures: Tensor) -> Tensor:
        """Compute the maps of checked pictures.

        Args:
            pictures: (B, 3, H, W) float32 or float64, finite, RGB. A learned predictor casts to its own dtype itself.

        Returns:
            (B, 1, h, w) in [0, 1]; a map of another size than the picture's is resized bilinearly by ``forward``.
        """
