"""Drawings of saliency: laid over images, with contours and a legend, and beside fixations. Plain torch; Pillow writes the text."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..image_ops.resize import resize
from .color_maps import color


def overlay(images: Tensor, maps: Tensor, name: str = "inferno", opacity: float = 0.6, fade: bool = True) -> Tensor:
    """Lay colored maps over images.

    Args:
        images: (B, 3, H, W) in [0, 1].
        maps: (B, 1, h, w) in [0, 1], resized to the images if of another size.
        name: of the color map.
        opacity: of the colors, 0 to 1.
        fade: the less salient, the more of the image shows through; otherwise the opacity is the same everywhere.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"The opacity is {opacity}; it must be from 0 (only the image) to 1 (only the map).")
    maps = fit(maps, images).clamp(0, 1)
    # The square root keeps middling saliency visible; a linear fade shows the peaks alone.
    share = opacity * maps.sqrt() if fade else torch.full_like(maps, opacity)
    return images.clamp(0, 1) * (1 - share) + color(maps, name) * share


def contours(images: Tensor, maps: Tensor, count: int, width: float = 1.5) -> Tensor:
    """Draw ``count`` lines of equal saliency, evenly between 0 and 1, white with a dark rim.

    Args:
        images: (B, 3, H, W) in [0, 1].
        maps: (B, 1, h, w) in [0, 1].
        count: of levels: 1 is the line at one half, 3 are those at 1/4, 1/2, 3/4.
        width: of the white line, pixels.

    Returns:
        (B, 3, H, W).
    """
    if count < 0:
        raise ValueError(f"The number of contours is {count}; it must be 0 or more.")
    maps = fit(maps, images)
    if min(maps.shape[-2:]) < 2:
        return images
    down, across = torch.gradient(maps, dim=(-2, -1))
    slope = torch.sqrt(down**2 + across**2)
    for level in ((index + 1) / (count + 1) for index in range(count)):
        # Pixels between here and the line, to first order. Where the map is flat there is no line, whatever its level.
        distance = (maps - level).abs() / slope.clamp(min=1e-9)
        drawn = (slope > 1e-5).to(maps)
        rim = (width / 2 + 1.5 - distance).clamp(0, 1) * drawn * 0.6
        line = (width / 2 + 0.5 - distance).clamp(0, 1) * drawn
        images = images * (1 - rim) * (1 - line) + line
    return images


def legend(images: Tensor, name: str = "inferno", low: str = "0", high: str = "1") -> Tensor:
    """Draw a bar of the color map with its ends named into the lower right corner; images under 48 x 32 pixels are left alone."""
    height, width = images.shape[-2:]
    if width < 48 or height < 32:
        return images
    bar_width, bar_height = max(24, width // 4), max(6, height // 40)
    font = _font(max(9, min(28, height // 28)))
    text_width = max(_text_size(text, font)[0] for text in (low, high)) + 4
    box_width = min(width, bar_width + 2 * text_width + 8)
    box_height = min(height, max(bar_height, _text_size("0", font)[1]) + 10)
    panel = Image.new("RGB", (box_width, box_height), (20, 20, 20))
    pen = ImageDraw.Draw(panel)
    middle = box_height // 2
    pen.text((text_width / 2 + 2, middle), low, fill="white", font=font, anchor="mm")
    pen.text((box_width - text_width / 2 - 2, middle), high, fill="white", font=font, anchor="mm")
    ramp = torch.linspace(0, 1, box_width - 2 * text_width - 4).expand(1, 1, bar_height, -1)
    panel.paste(to_pil(color(ramp, name)[0]), (text_width + 2, middle - bar_height // 2))
    drawn = from_pil(panel, images)
    result = images.clone()
    margin = min(4, width - box_width, height - box_height)
    result[..., height - margin - box_height : height - margin, width - margin - box_width : width - margin] = drawn
    return result


def mark(images: Tensor, points: list[Tensor], radius: float | None = None) -> Tensor:
    """Draw a ringed dot at each (row, column) of each image's points."""
    height, width = images.shape[-2:]
    radius = max(1.5, max(height, width) / 100) if radius is None else radius
    drawn = []
    for image, places in zip(images, points, strict=True):
        canvas = to_pil(image)
        pen = ImageDraw.Draw(canvas)
        for row, column in places.tolist():
            pen.ellipse((column - radius, row - radius, column + radius, row + radius), fill=(255, 255, 255), outline=(0, 0, 0))
        drawn.append(from_pil(canvas, images))
    return torch.stack(drawn)


def titled(panels: list[tuple[str, Tensor]], gap: int = 4) -> Tensor:
    """Put batches of images of one size side by side, each under its title.

    Args:
        panels: (title, (B, 3, H, W)) each.
        gap: between them, pixels.

    Returns:
        (B, 3, H + strip, sum of widths).
    """
    batch, _, height, width = panels[0][1].shape
    font = _font(max(10, min(24, width // 16)))
    strip = _text_size("Ag", font)[1] + 10
    columns = []
    for index, (title, images) in enumerate(panels):
        head = Image.new("RGB", (width, strip), "white")
        ImageDraw.Draw(head).text((width / 2, strip / 2), title, fill="black", font=font, anchor="mm")
        if index:
            columns.append(images.new_ones(batch, 3, height + strip, gap))
        columns.append(torch.cat([from_pil(head, images).expand(batch, -1, -1, -1), images], dim=2))
    return torch.cat(columns, dim=3)


def fit(maps: Tensor, images: Tensor) -> Tensor:
    """Resize maps to the images' height and width; dtype and device of the images."""
    maps = maps.to(images)
    size = (images.shape[-2], images.shape[-1])
    return maps if tuple(maps.shape[-2:]) == size else resize(maps, size)


def to_pil(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] to an image."""
    levels = (image.detach().float().clamp(0, 1) * 255).round().byte()
    return Image.fromarray(rearrange(levels, "c h w -> h w c").cpu().numpy())


def from_pil(image: Image.Image, like: Tensor) -> Tensor:
    """An image to (3, H, W) in [0, 1], dtype and device of ``like``."""
    return rearrange(torch.from_numpy(np.array(image.convert("RGB"))), "h w c -> c h w").to(like) / 255


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text_size(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> tuple[int, int]:
    left, top, right, bottom = font.getbbox(text)
    return int(right - left) + 1, int(bottom - top) + 1
