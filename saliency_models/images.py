"""Input checks, resizing and blurring shared by the predictors.

Resizing and blurring are matrix products along height and width: they work for any size down to one pixel and in any dtype,
and, unlike the backward passes of ``interpolate`` and ``pad`` on CUDA, they give the same bits each time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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


def fit_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return the (height, width) that keeps the aspect ratio of ``size`` and has ``longest`` as its longer side (both >= 1)."""
    scale = longest / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resize_matrix(length: int, to: int, like: Tensor) -> Tensor:
    """(to, length) matrix of triangle-filter weights: bilinear upwards, antialiased bilinear downwards; pixel centers at 0.5."""
    scale = length / to
    support = max(scale, 1.0)
    centers = (torch.arange(to, device=like.device, dtype=like.dtype) + 0.5) * scale
    places = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    weights = (1 - (places[None, :] - centers[:, None]).abs() / support).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (..., H, W) to (..., *size), equal to ``interpolate(mode="bilinear", antialias=True)``."""
    height, width = images.shape[-2:]
    if width != size[1]:
        images = images @ _resize_matrix(width, size[1], images).T
    if height != size[0]:
        images = _resize_matrix(height, size[0], images) @ images
    return images


def shrink(images: Tensor, longest: int) -> Tensor:
    """Return the images with the longer side brought down to ``longest``; smaller images as they are."""
    size = (images.shape[-2], images.shape[-1])
    return images if max(size) <= longest else resize(images, fit_size(size, longest))


def _blur_matrix(length: int, sigma: float, like: Tensor) -> Tensor:
    """(length, length) Gaussian weights, each row summing to 1, so that the border neither darkens nor brightens."""
    places = torch.arange(length, device=like.device, dtype=like.dtype)
    weights = torch.exp(-((places[None, :] - places[:, None]) ** 2) / (2 * sigma * sigma))
    return weights / weights.sum(1, keepdim=True)


def blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur (..., H, W) by a Gaussian of ``sigma`` pixels whose weights are renormalized at the border; sigma 0 changes nothing."""
    if sigma < 0 or not math.isfinite(sigma):
        raise ValueError(f"The blur's sigma is {sigma}; it must be a finite number of pixels, at least 0.")
    if sigma == 0:
        return maps
    height, width = maps.shape[-2:]
    return _blur_matrix(height, sigma, maps) @ maps @ _blur_matrix(width, sigma, maps).T


def divide_by_maximum(maps: Tensor) -> Tensor:
    """Scale each (1, H, W) map, which must not be negative, so that its maximum is 1; a map of zeros becomes a map of ones.

    A constant map says that nothing stands out, which is also what zeros say; ones leave an image weighted by them as it is.
    """
    top = maps.amax(dim=(-3, -2, -1), keepdim=True)
    empty = top <= torch.finfo(maps.dtype).tiny
    return torch.where(empty, torch.ones_like(maps), maps / torch.where(empty, torch.ones_like(top), top))
