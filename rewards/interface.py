"""What a reward is: a number for how good each image is, for its prompt or by itself; higher is better."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..schema.prompts import one_per_image


@runtime_checkable
class Reward(Protocol):
    """A differentiable judgment of images: deterministic, and of each image by itself.

    Attributes:
        name: how messages call it.
        image_size: the side of the squares it looks at, in pixels.
    """

    name: str

    @property
    def image_size(self) -> int:
        """The side of the squares it looks at, in pixels."""

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """``(B,)``, higher is better, differentiable in the images.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1], of any size.
            prompts: one for all images, or one for each. A reward that reads none is given them all the same; it has
                ``reads_prompts = False``, and empty ones do for it.
        """


@runtime_checkable
class TextImageEncoder(Protocol):
    """Unit vectors for sentences and for images, whose cosine says how well they fit."""

    def encode_text(self, prompts: list[str]) -> Tensor:
        """``(n, d)`` unit vectors for ``n`` sentences, without gradient."""

    def encode_image(self, images: Tensor) -> Tensor:
        """``(B, d)`` unit vectors for images ``(B, 3, H, W)`` in [0, 1] of any size; differentiable."""


class CosineReward:
    """The reward of an encoder: the cosine between image and prompt, in [-1, 1]. A base for encoders."""

    def __call__(self: TextImageEncoder, images: Tensor, prompts: list[str]) -> Tensor:
        """See :class:`Reward`."""
        image, text = self.encode_image(images), self.encode_text(one_per_image(prompts, len(images)))
        check_widths(text, image)
        return (image * text.to(image)).sum(-1)


def check_widths(text: Tensor, image: Tensor) -> None:
    """Raise ``ValueError`` if sentences ``(n, d)`` and images ``(B, d)`` are not in spaces of the same size."""
    if text.shape[-1] != image.shape[-1]:
        raise ValueError(
            f"The text tower gives vectors of {text.shape[-1]} numbers and the image tower of {image.shape[-1]}: they were not trained "
            "together, and no angle between them can be taken. Use the two towers of one model."
        )


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision becomes float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
