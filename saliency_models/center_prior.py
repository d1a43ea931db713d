"""The center prior: people look at the middle of photographs, whatever is in them."""

from __future__ import annotations

import torch
from torch import Tensor

from .entries import Entry
from .interface import SaliencyModel

SIGMA = 0.18
"""Of the prior's Gaussian, as a part of each side."""


def central_gaussian(size: tuple[int, int], like: Tensor, sigma: float = SIGMA) -> Tensor:
    """(1, 1, H, W) Gaussian around the center, 1 at most, ``sigma`` as a part of each side; dtype and device of ``like``."""
    if not sigma > 0:
        raise ValueError(f"The center prior's sigma is {sigma}; it must be more than 0 (0.25 is a quarter of each side).")
    bells = []
    for length in size:
        places = (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5) / length - 0.5
        bells.append(torch.exp(-(places**2) / (2 * sigma * sigma)))
    return (bells[0][:, None] * bells[1][None, :])[None, None]


class CenterPrior(SaliencyModel):
    """The same central Gaussian for each image: the baseline that every predictor should beat.

    Args:
        sigma: as a part of each side.
    """

    name = "center-prior"
    kind = "bottom-up"

    def __init__(self, sigma: float = SIGMA) -> None:
        super().__init__()
        central_gaussian((1, 1), torch.zeros(()), sigma)  # refuses a sigma that is not positive
        self.sigma = sigma

    def at_size(self, longest: int, image: tuple[int, int]) -> SaliencyModel:
        """Return itself: it does not look at the images."""
        return self

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, H, W). The derivative in the pixels is defined, and zero."""
        bell = central_gaussian((images.shape[-2], images.shape[-1]), images, self.sigma)
        return bell + 0 * images[:, :1]


ENTRIES = [
    Entry(
        name="center-prior",
        kind="bottom-up",
        license="Apache-2.0",
        build=CenterPrior,
    )
]
