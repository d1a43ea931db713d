"""The one place where ComfyUI's image layout is turned into the libraries' and back.

ComfyUI: IMAGE (B, H, W, C) and MASK (B, H, W). Libraries: images (B, 3, H, W) and maps (B, 1, H, W). All float in [0, 1].
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor


def from_image(image: Tensor, *, finite: bool = True) -> Tensor:
    """Turn an IMAGE into images.

    Args:
        image: (B, H, W, C) with 1 (gray), 3 (RGB) or 4 (RGBA, alpha dropped as core nodes do) channels; (H, W, C) is one image.
        finite: refuse pixels that are NaN or infinite, which clamping would make black or white.

    Returns:
        (B, 3, H, W), same dtype and device.

    Raises:
        ValueError: another number of dimensions or channels, an empty batch, whole numbers, or pixels that are not finite.
    """
    if not isinstance(image, Tensor) or image.dim() not in (3, 4) or image.shape[-1] not in (1, 3, 4):
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"Expected an IMAGE of shape (batch, height, width, 1 or 3 or 4 channels); got {got}.")
    if image.dim() == 3:
        image = image[None]
    if 0 in image.shape:
        raise ValueError(f"The IMAGE batch is empty: its shape is {tuple(image.shape)}. Check the node that made it.")
    if not image.is_floating_point():
        raise ValueError(f"Expected an IMAGE of floats in [0, 1]; got {image.dtype}. Look at the node that made it.")
    if finite and (bad := (~torch.isfinite(image)).flatten(1).any(1).nonzero().flatten().tolist()):
        raise ValueError(
            f"Images {bad} of the batch hold NaN or infinite pixels. Look at what made them: a decoder in half precision often overflows; "
            "run it in float32."
        )
    if image.shape[-1] == 1:
        image = image.expand(-1, -1, -1, 3)
    return rearrange(image[..., :3], "b h w c -> b c h w")


def to_image(images: Tensor) -> Tensor:
    """Turn images or maps (B, 1 or 3, H, W) into an IMAGE (B, H, W, 3), clamped to [0, 1], float32."""
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"Expected images of shape (batch, 1 or 3, height, width); got {tuple(images.shape)}.")
    return rearrange(images.expand(-1, 3, -1, -1), "b c h w -> b h w c").float().clamp(0, 1).contiguous()


def to_mask(maps: Tensor) -> Tensor:
    """Turn maps (B, 1, H, W) into a MASK (B, H, W), clamped to [0, 1], float32."""
    if maps.dim() != 4 or maps.shape[1] != 1:
        raise ValueError(f"Expected maps of shape (batch, 1, height, width); got {tuple(maps.shape)}.")
    return maps[:, 0].float().clamp(0, 1).contiguous()


def from_mask(mask: Tensor) -> Tensor:
    """Turn a MASK (B, H, W), or one mask (H, W), into maps (B, 1, H, W).

    Raises:
        ValueError: another number of dimensions, an empty batch, or values that are not finite.
    """
    if not isinstance(mask, Tensor) or mask.dim() not in (2, 3, 4) or (mask.dim() == 4 and mask.shape[1] != 1):
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"Expected a MASK of shape (batch, height, width); got {got}.")
    if 0 in mask.shape:
        raise ValueError(f"The MASK is empty: its shape is {tuple(mask.shape)}. Check the node that made it.")
    if not bool(torch.isfinite(mask).all()):
        raise ValueError("The mask holds NaN or infinite values. Look at the node that made it.")
    if mask.dim() == 4:
        return mask
    return mask[:, None] if mask.dim() == 3 else mask[None, None]


def match_batch(tensor: Tensor, batch: int, what: str) -> Tensor:
    """Repeat one item for the whole batch, or take a batch of the same length as it is.

    Raises:
        ValueError: the lengths differ and ``tensor`` has more than one item; ``what`` names it in the sentence.
    """
    if tensor.shape[0] == batch:
        return tensor
    if tensor.shape[0] == 1:
        return tensor.expand(batch, *([-1] * (tensor.dim() - 1)))
    raise ValueError(f"There are {tensor.shape[0]} {what} for {batch} images; give one for all, or one for each.")
