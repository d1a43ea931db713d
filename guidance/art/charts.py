"""Charts beside images: the hue wheel with a template and the palette; lightness with the direction of the light."""

from __future__ import annotations

import math
from typing import Any

import torch
from kornia.color import lab_to_rgb
from PIL import Image, ImageDraw
from torch import Tensor

from ...image_ops.blur import blur
from .color_rules import Harmony, Palette
from .drawing import GUIDE, TARGET, from_pil, to_pil
from .hues import BINS, TEMPLATES, hue_histogram
from .light_rules import KeyDirection, light_slope
from .view import View

SIDE = 256
PAPER, INK = (40, 40, 40), (230, 230, 230)
STRIP = 32


def draw_color(images: Tensor, view: View, rule: Any) -> Tensor:
    """Each image, its hues weighted by chroma around CIELAB's wheel with the template's sectors, and below its colors or those wanted."""
    where = getattr(rule, "where", "image")
    histogram = hue_histogram(view.lab, view.weights(where)).detach().cpu()
    turns = rule.rotation(view).tolist() if isinstance(rule, Harmony) else []
    charts = []
    for number, hues in enumerate(histogram):
        chart = Image.new("RGB", (SIDE, SIDE), PAPER)
        pen = ImageDraw.Draw(chart)
        _wheel(pen, hues / hues.max().clamp(min=1e-3))
        if isinstance(rule, Harmony):
            for center, width in TEMPLATES[rule.template]:
                middle = -360 * (turns[number] / BINS + center)  # Pillow turns clockwise
                pen.arc((14, 2, SIDE - 46, SIDE - 62), middle - 180 * width, middle + 180 * width, fill=GUIDE, width=5)
        _strip(pen, rule.colors if isinstance(rule, Palette) else view.images[number].detach().flatten(1).T.cpu())
        charts.append(chart)
    return _beside(images, charts)


def draw_light(images: Tensor, view: View, rule: Any) -> Tensor:
    """Each image, and its lightness with an arrow toward the light (red) and one toward where it is wanted (green)."""
    slopes = light_slope(view).detach().cpu()
    charts = []
    for number, light in enumerate(view.lightness.detach()):
        chart = to_pil(light.expand(3, -1, -1)).resize(_fitted(images))
        pen = ImageDraw.Draw(chart)
        across, down = slopes[number].tolist()
        length = math.hypot(across, down)
        if length > 1e-3:
            _arrow(pen, chart.size, across / length, down / length, (255, 70, 60))
        if isinstance(rule, KeyDirection):
            _arrow(pen, chart.size, *rule.wanted(), TARGET)
        charts.append(chart)
    return _beside(images, charts)


def _wheel(pen: ImageDraw.ImageDraw, lengths: Tensor) -> None:
    angles = torch.arange(BINS) * (2 * math.pi / BINS)
    lab = torch.stack([torch.full((BINS,), 65.0), 45 * angles.cos(), 45 * angles.sin()])
    colors = (lab_to_rgb(lab[None, :, :, None])[0, :, :, 0].T.clamp(0, 1) * 255).round().int().tolist()
    middle, radius = ((SIDE - 32) / 2, (SIDE - 60) / 2), (SIDE - 76) / 2
    for angle, length, color in zip(angles.tolist(), lengths.tolist(), colors, strict=True):
        direction = math.cos(angle), -math.sin(angle)
        inner = 0.25 * radius
        outer = inner + (radius - inner) * max(length, 0.03)
        ends = [(middle[0] + r * direction[0], middle[1] + r * direction[1]) for r in (inner, outer)]
        pen.line([ends[0], ends[1]], fill=tuple(color), width=6)


def _strip(pen: ImageDraw.ImageDraw, colors: Tensor) -> None:
    """Colors by lightness: those of a palette, or as many steps of an image's."""
    order = colors[colors.mean(1).argsort()]
    picked = order[torch.linspace(0, len(order) - 1, min(len(order), 8)).round().long()]
    wide = SIDE / len(picked)
    for number, color in enumerate((picked.clamp(0, 1) * 255).round().int().tolist()):
        pen.rectangle((number * wide, SIDE - STRIP, (number + 1) * wide, SIDE), fill=tuple(color))


def _arrow(pen: ImageDraw.ImageDraw, size: tuple[int, int], across: float, down: float, color: tuple[int, int, int]) -> None:
    x, y, reach = size[0] / 2, size[1] / 2, 0.4 * min(size)
    tip = (x + reach * across, y + reach * down)
    pen.line([(x, y), tip], fill=color, width=max(2, min(size) // 64))
    pen.ellipse((tip[0] - 5, tip[1] - 5, tip[0] + 5, tip[1] + 5), fill=color)


def _fitted(images: Tensor) -> tuple[int, int]:
    height, width = images.shape[-2:]
    return max(1, round(width * SIDE / height)), SIDE


def _beside(images: Tensor, charts: list[Image.Image]) -> Tensor:
    return torch.stack(
        [
            torch.cat([from_pil(to_pil(image).resize(_fitted(images)), images), from_pil(chart, images)], dim=-1)
            for image, chart in zip(images, charts, strict=True)
        ]
    )


def draw_texture(images: Tensor, view: View, rule: Any) -> Tensor:
    """Each image, and its lightness without what is smooth, which is what strokes are measured by."""
    light = view.lightness.detach()[:, None]
    detail = (light - blur(light, 0.1 * min(light.shape[-2:])) + 0.5).clamp(0, 1)
    return _beside(images, [to_pil(each.expand(3, -1, -1)).resize(_fitted(images)) for each in detail])
