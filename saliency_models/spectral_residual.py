"""Spectral residual saliency.

Hou, Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007: the log amplitude spectra of photographs are alike and
smooth, so what departs from the smooth curve belongs to what is unusual in the image. The blur and scaling follow OpenCV's
``StaticSaliencySpectralResidual``. Unlike there, the image is mirrored at its borders first: the transform takes opposite borders
for neighbors, and their difference made the corners the most salient places of most photographs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..image_ops.resize import resize
from .entries import Entry
from .filters import filter_rows_and_columns
from .interface import SaliencyModel
from .maps import divide_by_maximum

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# Amplitude, that of noise of an eighth of a gray level, below which a frequency counts as absent: its phase and its gradient mean nothing.
_SILENCE = 16.0


class SpectralResidual(SaliencyModel):
    """Spectral residual of the gray image, stretched to a small square.

    Args:
        side: of the square, pixels.
    """

    name = "spectral-residual"
    kind = "bottom-up"

    def __init__(self, side: int = 64) -> None:
        super().__init__()
        if side < 8:
            raise ValueError(f"The spectral residual needs a square of at least 8 pixels; got side {side}.")
        self.side = side

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, side, side) maps; the maximum of each is 1."""
        luma = images.new_tensor(_LUMA)[None, :, None, None]
        gray = resize((images * luma).sum(1, keepdim=True), (self.side, self.side)) * 255
        spectrum = torch.fft.fft2(_mirrored(gray))
        amplitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + _SILENCE**2)
        log_amplitude = torch.log1p(amplitude)
        residual = log_amplitude - _mean_of_neighbors(log_amplitude)
        back = torch.fft.ifft2(spectrum * (torch.exp(residual) / amplitude))
        taps = [math.exp(-(i * i) / (2 * 8.0**2)) for i in range(-2, 3)]
        taps = [tap / sum(taps) for tap in taps]
        magnitude = torch.sqrt(back.real**2 + back.imag**2 + 1e-12)[..., : self.side, : self.side]
        smooth = filter_rows_and_columns(magnitude, taps, taps)
        return divide_by_maximum(smooth**2)


def _mirrored(gray: Tensor) -> Tensor:
    """(..., 2 H, 2 W): the image and its mirror images, so that opposite borders are alike."""
    wide = torch.cat([gray, gray.flip(-1)], dim=-1)
    return torch.cat([wide, wide.flip(-2)], dim=-2)


def _mean_of_neighbors(spectrum: Tensor) -> Tensor:
    """Mean over 3 x 3 frequencies, around the edges."""
    rows = spectrum + spectrum.roll(1, -2) + spectrum.roll(-1, -2)
    return (rows + rows.roll(1, -1) + rows.roll(-1, -1)) / 9


ENTRIES = [
    Entry(
        name="spectral-residual",
        kind="bottom-up",
        license="Apache-2.0",
        build=SpectralResidual,
    )
]
