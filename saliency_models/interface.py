"""What every saliency predictor of the pack is: images in, maps of the same size out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..image_ops.resize import fit_size, resize

Kind = Literal["fixation", "salient object", "attention", "bottom-up"]
"""What a map means: where people look ("fixation", learned from eye tracking), which object stands out ("salient object",
learned from masks), where a network attends ("attention", not trained for saliency), or local contrast ("bottom-up", not learned)."""

KINDS: tuple[str, ...] = get_args(Kind)


class SaliencyModel(nn.Module, ABC):
    """Base of all predictors: ``model(images) -> maps``.

    Calling checks the images, computes in at least float32, and returns a map for each image, of its size, dtype and
    device, in [0, 1], differentiable in the pixels and deterministic. A predictor implements ``predict``.

    Attributes:
        name: the name in the registry.
        kind: what its maps mean, see ``Kind``.
        needs_weights: whether it was loaded from a file, or computes without.
    """

    name: str = ""
    kind: Kind = "bottom-up"
    needs_weights: bool = False

    def forward(self, images: Tensor) -> Tensor:
        """Predict a saliency map for each image.

        Args:
            images: (B, 3, H, W) float in [0, 1], RGB; (B, 1, H, W) gray and (B, 4, H, W) RGBA are taken too. Any size, any
                batch but an empty one, any float dtype. Pixels a little outside [0, 1] (a decoder's overshoot) are computed with
                as they are, so that their gradient is not cut.

        Returns:
            (B, 1, H, W) in [0, 1], dtype and device of ``images``. An image in which nothing stands out gets a constant map.

        Raises:
            ValueError: images of another shape or dtype, an empty batch, or pixels that are NaN or infinite.
        """
        checked = check_images(images)
        working = checked if checked.dtype == torch.float64 else checked.float()
        maps = self.predict(working)
        if maps.shape[-2:] != images.shape[-2:]:
            maps = resize(maps, (images.shape[-2], images.shape[-1]))
        return maps.to(images.dtype)

    def at_size(self, longest: int, image: tuple[int, int]) -> SaliencyModel:
        """Return this predictor looking at a copy of the images of another size; weights are shared, not copied.

        A predictor with an ``input_size`` (height, width) keeps its shape, or takes that of the image if it is None, with the longer
        side ``longest`` and both sides rounded to multiples of 32; one with a ``side`` (the longer one) gets ``longest``.

        Args:
            longest: pixels, at least 32.
            image: (height, width) of the images.

        Raises:
            ValueError: a size below 32, or a predictor whose input size is fixed.
        """
        if longest < 32:
            raise ValueError(f"The input size is {longest}; it must be at least 32 pixels (0 is the predictor's own size).")
        twin: Any = copy.copy(self)
        if hasattr(self, "input_size"):
            height, width = fit_size(twin.input_size or image, longest)
            twin.input_size = (max(32, round(height / 32) * 32), max(32, round(width / 32) * 32))
        elif hasattr(self, "side"):
            twin.side = longest
        else:
            raise ValueError(f"The input size of {self.name!r} cannot be changed; set it to 0.")
        return twin

    def without_center(self) -> SaliencyModel:
        """Return this predictor without its center prior, to find what stands out wherever it is; itself where none can be left out."""
        return self

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """Compute the maps of checked images.

        Args:
            images: (B, 3, H, W) float32 or float64, finite, RGB. A learned predictor casts to its own dtype itself.

        Returns:
            (B, 1, h, w) in [0, 1]; a map of another size than the image's is resized bilinearly by ``forward``.
        """


def check_images(images: Tensor) -> Tensor:
    """Return ``images`` as (B, 3, H, W), or say what is wrong with them.

    Gray images are repeated over the channels; an alpha channel is dropped, as ComfyUI's core nodes do.

    Args:
        images: (B, 1 or 3 or 4, H, W), floating point, finite.

    Returns:
        (B, 3, H, W), same dtype and device.

    Raises:
        ValueError: not such a tensor, no images or no pixels, or values that are NaN or infinite.
    """
    if not isinstance(images, Tensor) or images.dim() != 4:
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"Saliency models take a batch of images (B, 3, H, W); got {got}. Add a batch dimension with images[None].")
    if not images.is_floating_point():
        raise ValueError(f"Saliency models take float images in [0, 1]; got {images.dtype}. Convert with images.float() / 255.")
    if images.shape[0] == 0:
        raise ValueError("The batch of images is empty (0 images); a saliency model needs at least one.")
    if 0 in images.shape:
        raise ValueError(f"The images have no pixels: {tuple(images.shape)}. Height and width must be at least 1.")
    channels = images.shape[1]
    if channels not in (1, 3, 4):
        raise ValueError(
            f"Saliency models take gray, RGB or RGBA images (1, 3 or 4 channels); got {channels} in {tuple(images.shape)}. "
            "Is this a latent, or channels-last? Decode it, or permute it to (B, 3, H, W)."
        )
    if not bool(torch.isfinite(images).all()):
        bad = (~torch.isfinite(images)).flatten(1).any(1).nonzero().flatten().tolist()
        raise ValueError(
            f"Images {bad} of the batch hold NaN or infinite pixels, so no saliency map exists for them. "
            "Look at what made them: a decoder in half precision often overflows; run it in float32."
        )
    return images.expand(-1, 3, -1, -1) if channels == 1 else images[:, :3]
