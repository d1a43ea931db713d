"""Spectral residual saliency.

Hou, Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007: the log amplitude spectra of photographs are alike and
smooth, so what departs from the smooth curve belongs to what is unusual in the picture. The blur and scaling follow OpenCV's
``StaticSaliencySpectralResidual``; the spectrum is averaged around its edges, as it is periodic, where OpenCV reflects it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .filters import filter_rows_and_columns
from .interface import SaliencyModel
from .pictures import divide_by_maximum, resize
from .registry import Entry

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# Amplitude (of grey values 0 to 255) below which a frequency counts as absent: its phase, and the phase's gradient, mean nothing.
_SILENCE = 1.0


class SpectralResidual(SaliencyModel):
    """Spectral residual of the grey picture, stretched to a small square.

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

    def predict(self, pictures: Tensor) -> Tensor:
        """Return (B, 1, side, side) maps; the maximum of each is 1."""
        luma = pictures.new_tensor(_LUMA)[None, :, None, None]
        grey = resize((pictures * luma).sum(1, keepdim=True), (self.side, self.side)) * 255
        spectrum = torch.fft.fft2(grey)
        amplitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + _SILENCE**2)
        log_amplitude = torch.log1p(amplitude)
        residual = log_amplitude - _mean_of_neighbours(log_amplitude)
        back = torch.fft.ifft2(spectrum * (torch.exp(residual) / amplitude))
        taps = [math.exp(-(i * i) / (2 * 8.0**2)) for i in range(-2, 3)]
        taps = [tap / sum(taps) for tap in taps]
        smooth = filter_rows_and_columns(torch.sqrt(back.real**2 + back.imag**2 + 1e-12), taps, taps)
        return divide_by_maximum(smooth**2)


def _mean_of_neighbours(spectrum: Tensor) -> Tensor:
    """Mean over 3 x 3 frequencies, around the edges."""
    rows = spectrum + spectrum.roll(1, -2) + spectrum.roll(-1, -2)
    return (rows + rows.roll(1, -1) + rows.roll(-1, -1)) / 9


ENTRIES = [
    Entry(
        name="spectral-residual",
        kind="bottom-up",
        description="Spectral residual (Hou, Zhang 2007) of the grey picture: the fastest, and blind to colour. Nothing to download.",
        licence="Apache-2.0",
        build=SpectralResidual,
    )
]
