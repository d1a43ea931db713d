"""What the artistic objectives measured, drawn over the images with Pillow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw
from torch import Tensor

from .composition_rules import ComposedScene, Rule
from .subject import edges

LEAST_SIDE = 256  # smaller images are enlarged by whole numbers, or lines would cover them
GUIDE, TARGET, SUBJECT = (255, 255, 255), (64, 220, 110), (255, 70, 60)


def draw_on(images: Tensor, pen: Callable[[ImageDraw.ImageDraw, int, tuple[int, int]], None]) -> Tensor:
    """Call ``pen(draw, number, (width, height))`` for each of ``(B, 3, H, W)`` images in [0, 1]; all of the same, enlarged, size."""
    drawn = []
    for number, image in enumerate(images):
        canvas = to_pil(image)
        scale = max(1, round(LEAST_SIDE / max(canvas.size)))
        canvas = canvas.resize((canvas.width * scale, canvas.height * scale), Image.Resampling.NEAREST)
        pen(ImageDraw.Draw(canvas), number, canvas.size)
        drawn.append(from_pil(canvas, images))
    return torch.stack(drawn)


def draw_composition(images: Tensor, scene: ComposedScene, rule: Rule) -> Tensor:
    """Guide lines in white, the rule's places in green, the subject's center and the box with its spread in red."""
    first, last = (corner.detach().cpu() for corner in edges(scene.center, scene.spread))
    centers = scene.center.detach().cpu()

    def pen(draw: ImageDraw.ImageDraw, number: int, size: tuple[int, int]) -> None:
        wide = max(1, max(size) // 256)
        for x, y, to_x, to_y in rule.lines():
            draw.line([_pixel(x, y, size), _pixel(to_x, to_y, size)], fill=GUIDE, width=wide)
        for place_x, place_y in rule.places():
            if place_x is not None and place_y is not None:
                _ring(draw, _pixel(place_x, place_y, size), 6 * wide, TARGET, 2 * wide)
            elif place_x is not None:
                draw.line([_pixel(place_x, 0, size), _pixel(place_x, 1, size)], fill=TARGET, width=2 * wide)
            elif place_y is not None:
                draw.line([_pixel(0, place_y, size), _pixel(1, place_y, size)], fill=TARGET, width=2 * wide)
        (left, top), (right, bottom) = first[number].clamp(0, 1).tolist(), last[number].clamp(0, 1).tolist()
        draw.rectangle([*_pixel(left, top, size), *_pixel(right, bottom, size)], outline=SUBJECT, width=wide)
        center_x, center_y = centers[number].tolist()
        x, y = _pixel(center_x, center_y, size)
        draw.ellipse((x - 4 * wide, y - 4 * wide, x + 4 * wide, y + 4 * wide), fill=SUBJECT, outline=GUIDE)

    return draw_on(images, pen)


def to_pil(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] to an image."""
    levels = (image.detach().float().clamp(0, 1) * 255).round().byte()
    return Image.fromarray(rearrange(levels, "c h w -> h w c").cpu().numpy())


def from_pil(image: Image.Image, like: Tensor) -> Tensor:
    """An image to (3, H, W) in [0, 1], dtype and device of ``like``."""
    return rearrange(torch.from_numpy(np.array(image.convert("RGB"))), "h w c -> c h w").to(like) / 255


def _pixel(x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
    return x * (size[0] - 1), y * (size[1] - 1)


def _ring(draw: ImageDraw.ImageDraw, at: tuple[float, float], radius: float, color: tuple[int, int, int], width: int) -> None:
    draw.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), outline=color, width=width)
