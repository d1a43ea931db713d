"""Separable filters as matrix products (see ``image_ops.resize``): for any size, and the same bits each time."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ..image_ops.blur import blur

_GABOR_PERIOD = math.pi  # pixels, and
_GABOR_SIGMA = 2.0  # pixels: as in J. Harel's GBVS toolbox, without its elongation, so that each filter is separable


def filter_rows_and_columns(images: Tensor, down: list[float], across: list[float]) -> Tensor:
    """Correlate (..., H, W) with the separable kernel ``down x across`` (odd lengths), the border pixels repeated outwards."""
    height, width = images.shape[-2:]
    return _tap_matrix(height, tuple(down), images) @ images @ _tap_matrix(width, tuple(across), images).T


def _tap_matrix(length: int, taps: tuple[float, ...], like: Tensor) -> Tensor:
    """(length, length) matrix of a correlation with ``taps``; taps that reach outside act on the border pixel. Not to be written to."""
    if length > _LONGEST_KEPT:
        return _new_tap_matrix(length, taps, like.dtype, like.device)
    return _kept_tap_matrix(length, taps, like.dtype, like.device)


def _new_tap_matrix(length: int, taps: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # An ordinary tensor, also where the first to ask is in inference mode: the next may want to differentiate.
    with torch.inference_mode(False):
        matrix = torch.zeros(length, length, device=device, dtype=dtype)
        rows = torch.arange(length, device=device)
        half = len(taps) // 2
        for offset, tap in enumerate(taps, start=-half):
            # One tap at a time, so no row is written twice in one call.
            matrix[rows, (rows + offset).clamp(0, length - 1)] += tap
        return matrix


# An optimization asks for the same ones in each iteration, up to 16 for each side and scale.
# They stay on their device: 34 MB of float32 at most.
_LONGEST_KEPT = 256
_kept_tap_matrix = lru_cache(maxsize=128)(_new_tap_matrix)


def gabor_energy(intensity: Tensor, angles: tuple[float, ...] = (0.0, 45.0, 90.0, 135.0)) -> Tensor:
    """Return how strongly each place has an edge or line of each orientation.

    A Gabor filter is a Gaussian times a plane wave, and the wave of a sum is a sum of products, so that each is separable.

    Args:
        intensity: (B, 1, H, W).
        angles: of the wave's direction, degrees.

    Returns:
        (B, len(angles), H, W): the magnitude of the quadrature pair, smooth at 0.
    """
    half = math.ceil(2.5 * _GABOR_SIGMA)
    envelope = [math.exp(-(i * i) / (2 * _GABOR_SIGMA**2)) for i in range(-half, half + 1)]
    total = sum(envelope)
    intensity = intensity - blur(intensity, 2 * _GABOR_SIGMA)  # no response to brightness itself

    def taps(frequency: float, wave: Callable[[float], float]) -> list[float]:
        return [weight / total * wave(frequency * i) for i, weight in zip(range(-half, half + 1), envelope, strict=True)]

    energies = []
    for angle in angles:
        across = 2 * math.pi / _GABOR_PERIOD * math.cos(math.radians(angle))
        down = 2 * math.pi / _GABOR_PERIOD * math.sin(math.radians(angle))
        cc = filter_rows_and_columns(intensity, taps(down, math.cos), taps(across, math.cos))
        ss = filter_rows_and_columns(intensity, taps(down, math.sin), taps(across, math.sin))
        sc = filter_rows_and_columns(intensity, taps(down, math.sin), taps(across, math.cos))
        cs = filter_rows_and_columns(intensity, taps(down, math.cos), taps(across, math.sin))
        energies.append(torch.sqrt((cc - ss) ** 2 + (sc + cs) ** 2 + 1e-8) - 1e-4)
    return torch.cat(energies, dim=1)
