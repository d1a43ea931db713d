"""Gaussian blur as a matrix product along each axis: any sigma and size, and the same bits each time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def blur(images: Tensor, sigma: float) -> Tensor:
    """Blur (..., H, W) by a Gaussian of ``sigma`` pixels; sigma 0 changes nothing.

    The weights of each pixel are renormalized to sum to 1 at the border, so that it neither darkens nor brightens. (kornia's and
    torchvision's reflect the border instead, which needs images larger than the kernel, and on CUDA has no deterministic backward pass.)

    Raises:
        ValueError: a sigma that is negative or not finite.
    """
    if sigma < 0 or not math.isfinite(sigma):
        raise ValueError(f"The blur's sigma is {sigma}; it must be a finite number of pixels, at least 0.")
    if sigma == 0:
        return images
    height, width = images.shape[-2:]
    return _gaussian_matrix(height, sigma, images) @ images @ _gaussian_matrix(width, sigma, images).mT


def _gaussian_matrix(length: int, sigma: float, like: Tensor) -> Tensor:
    """(length, length) weights, each row summing to 1."""
    places = torch.arange(length, device=like.device, dtype=like.dtype)
    weights = torch.exp(-((places[None, :] - places[:, None]) ** 2) / (2 * sigma * sigma))
    return weights / weights.sum(1, keepdim=True)
