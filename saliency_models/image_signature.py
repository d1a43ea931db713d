"""The Image Signature with a sign that has a gradient.

Hou, Harel, Koch, "Image Signature: Highlighting Sparse Salient Regions", PAMI 2012: keep only the signs of an image's cosine
transform and transform back; what stands out on a plain ground carries most of the energy that is left. The sign has no gradient
anywhere, so it is replaced by ``d / sqrt(d^2 + (softness * mean|d|)^2)``, which is it for all but the smallest coefficients.
"""

from __future__ import annotations

import math

import torch
from kornia.color import rgb_to_lab
from torch import Tensor

from ..image_ops.blur import blur
from ..image_ops.resize import shrink
from .entries import Entry
from .interface import SaliencyModel
from .maps import divide_by_maximum

# A cosine coefficient (of Lab / 100, orthonormal transform) below which a channel counts as empty: half of the smallest step
# of an 8-bit image, and far above the rounding in the colors of a gray one.
_SILENCE = 2e-3


def cosine_matrix(length: int, like: Tensor) -> Tensor:
    """(length, length) orthonormal DCT-II matrix: ``matrix @ x`` transforms, ``matrix.T @ y`` transforms back."""
    places = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    frequencies = torch.arange(length, device=like.device, dtype=like.dtype)
    matrix = torch.cos(math.pi / length * frequencies[:, None] * places[None, :]) * math.sqrt(2 / length)
    scale = torch.ones_like(frequencies)
    scale[0] = math.sqrt(0.5)
    return matrix * scale[:, None]


class ImageSignature(SaliencyModel):
    """Soft Image Signature of the Lab channels.

    Args:
        side: longer side of the copy that is transformed, pixels.
        blur_fraction: sigma of the blur, as a part of the width.
        softness: coefficients below this part of their channel's mean magnitude count less than fully; 0.05 changes no correlation
            with fixations measurably.
    """

    name = "image-signature"
    kind = "bottom-up"

    def __init__(self, side: int = 64, blur_fraction: float = 0.045, softness: float = 0.05) -> None:
        super().__init__()
        if side < 2 or blur_fraction < 0 or softness <= 0:
            raise ValueError(
                f"The Image Signature needs side >= 2, blur_fraction >= 0, softness > 0; got {side}, {blur_fraction}, {softness}."
            )
        self.side, self.blur_fraction, self.softness = side, blur_fraction, softness

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, h, w) maps of the small copy; the maximum of each is 1."""
        lab = rgb_to_lab(shrink(images, self.side)) / 100
        lab = lab - lab.mean(dim=(-2, -1), keepdim=True)  # the constant part says nothing, and its rounding would drown faint images
        down, across = cosine_matrix(lab.shape[-2], lab), cosine_matrix(lab.shape[-1], lab)
        coefficients = down @ lab @ across.T
        scale = self.softness * coefficients.abs().mean(dim=(-2, -1), keepdim=True)
        signs = coefficients / torch.sqrt(coefficients**2 + scale**2 + _SILENCE**2)
        # The mean energy is about 1, or less in an image of few frequencies; a part of that makes a flat image's map constant.
        energy = ((down.T @ signs @ across) ** 2).mean(dim=1, keepdim=True) + 3e-2
        return divide_by_maximum(blur(energy, self.blur_fraction * lab.shape[-1]))


ENTRIES = [
    Entry(
        name="image-signature",
        kind="bottom-up",
        license="Apache-2.0",
        build=ImageSignature,
    )
]
