"""Images for the node's preview while a run goes on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

MOST = 4
SIZE = 512


def to_shown(decoded: Sequence[Tensor]) -> list[Tensor]:
    """The images to show of what was decoded, ``(n, 3, H, W)`` each: all frames of one video, the middle frame of each of several."""
    return list(decoded[0]) if len(decoded) == 1 else [frames[len(frames) // 2] for frames in decoded]


def to_preview(images: Sequence[Tensor]) -> tuple[str, Image.Image, int] | None:
    """Up to four images ``(3, H, W)`` in [0, 1] side by side, as ``ProgressBar.update_absolute`` takes them; ``None`` without any."""
    if not images:
        return None
    row = torch.cat(list(images[:MOST]), dim=2).float().clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
    image = Image.fromarray(row.movedim(0, -1).contiguous().numpy())
    if max(image.size) < SIZE // 2:  # a tiny image is shown pixel by pixel rather than blurred by the page
        factor = SIZE // (2 * max(image.size)) + 1
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    return ("JPEG", image, SIZE * min(len(images), 2))
