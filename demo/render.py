"""Paint scenes: many at once, from signed distances, so that edges are smooth and a scene is the same at every batch size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .captions import COLORS, SHAPES
from .scenes import CLUTTER_KINDS, GROUND_KINDS, MAX_CLUTTER, SIDE, Placed, Scene

_MUTED = (
    torch.tensor(
        [[96, 96, 100], [150, 148, 146], [196, 194, 190], [228, 224, 216], [122, 104, 88], [168, 150, 128], [70, 72, 80], [206, 190, 166]]
    )
    / 255.0
)


def _grid(side: int = SIDE) -> tuple[Tensor, Tensor]:
    axis = torch.arange(side, dtype=torch.float32) + 0.5
    return axis[None, :].expand(side, side), axis[:, None].expand(side, side)


def _box(x: Tensor, y: Tensor, w: float | Tensor, h: float | Tensor) -> Tensor:
    return torch.maximum(x.abs() - w, y.abs() - h)


def _shape_distance(shape: str, x: Tensor, y: Tensor, r: float) -> Tensor:
    """Signed distance in pixels to a shape of half-width ``r`` about the origin, negative inside."""
    if shape == "circle":
        return torch.hypot(x, y) - r
    if shape == "square":
        return _box(x, y, 0.9 * r, 0.9 * r)
    if shape == "triangle":
        sides = 0.866 * x.abs() - 0.5 * (y + r)
        return torch.maximum(sides, y - 0.62 * r)
    if shape == "cross":
        return torch.minimum(_box(x, y, r, 0.33 * r), _box(x, y, 0.33 * r, r))
    if shape == "ring":
        return (torch.hypot(x, y) - 0.74 * r).abs() - 0.26 * r
    raise ValueError(f"There is no shape {shape!r}; known are {', '.join(SHAPES)}.")


def _turn(x: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return c * x + s * y, c * y - s * x


def _blend(canvas: Tensor, distance: Tensor, color: Tensor, opacity: float = 1.0) -> Tensor:
    alpha = (0.5 - distance).clamp(0, 1) * opacity
    return canvas + alpha * (color.view(3, 1, 1) - canvas)


def _value_noise(rng: np.random.Generator, cells: int) -> Tensor:
    coarse = torch.from_numpy(rng.random((1, 1, cells, cells), dtype=np.float32))
    return torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=False)[0, 0].clamp(0, 1)


def _ground(rng: np.random.Generator) -> Tensor:
    """(3, 64, 64): two muted colors mixed by a gradient, noise, stripes, checks or stray lines."""
    x, y = _grid()
    a, b = (_MUTED[int(i)] for i in rng.choice(len(_MUTED), 2, replace=False))
    kind, angle, phase = int(rng.integers(GROUND_KINDS)), rng.uniform(0, np.pi), rng.uniform(0, 6.28)
    u, v = _turn(x - SIDE / 2, y - SIDE / 2, float(angle))
    if kind == 0:
        mix = (u / SIDE + 0.5).clamp(0, 1)
    elif kind == 1:
        mix = _value_noise(rng, int(rng.integers(3, 12)))
    elif kind == 2:
        mix = 0.5 + 0.5 * torch.sin(u * float(rng.uniform(0.35, 0.9)) + phase)
    elif kind == 3:
        f = float(rng.uniform(0.25, 0.7))
        mix = (0.5 + 2.0 * torch.sin(u * f + phase) * torch.sin(v * f)).clamp(0, 1)
    else:
        mix = 0.3 * _value_noise(rng, 4)
        for _ in range(int(rng.integers(3, 8))):
            lu, _lv = _turn(x - float(rng.uniform(0, SIDE)), y - float(rng.uniform(0, SIDE)), float(rng.uniform(0, np.pi)))
            mix = torch.maximum(mix, (1.2 - lu.abs()).clamp(0, 1))
    contrast = float(rng.uniform(0.2, 0.7))
    ground = a.view(3, 1, 1) + contrast * mix * (b - a).view(3, 1, 1)
    grain = torch.from_numpy(rng.standard_normal((3, SIDE, SIDE), dtype=np.float32))
    return ground + float(rng.uniform(0, 0.02)) * grain


def _clutter_distance(kind: int, x: Tensor, y: Tensor, r: float) -> Tensor:
    if kind == 0:
        return _box(x, y, r, 0.22 * r)
    if kind == 1:
        return torch.maximum(torch.hypot(x, y) - r, y)
    if kind == 2:
        return torch.maximum(torch.maximum(torch.hypot(x, y) - r, y - 0.6 * x), -y - 0.1 * x)
    spots = [torch.hypot(x - dx * r, y - dy * r) - 0.2 * r for dx, dy in ((-0.6, 0.3), (0.1, -0.6), (0.6, 0.4))]
    return torch.stack(spots).amin(0)


def _add_clutter(canvas: Tensor, rng: np.random.Generator) -> Tensor:
    x, y = _grid()
    for _ in range(int(rng.integers(0, MAX_CLUTTER + 1))):
        kind, r = int(rng.integers(CLUTTER_KINDS)), float(rng.uniform(4, 11))
        u, v = _turn(x - float(rng.uniform(0, SIDE)), y - float(rng.uniform(0, SIDE)), float(rng.uniform(0, 6.28)))
        canvas = _blend(canvas, _clutter_distance(kind, u, v, r), _MUTED[int(rng.integers(len(_MUTED)))], float(rng.uniform(0.6, 1)))
    return canvas


def _add_object(canvas: Tensor, obj: Placed, rng: np.random.Generator) -> Tensor:
    x, y = _grid()
    u, v = _turn(x - obj.x, y - obj.y, obj.angle)
    color = torch.tensor(COLORS[obj.color], dtype=torch.float32) / 255 + torch.from_numpy(rng.uniform(-0.035, 0.035, 3)).float()
    return _blend(canvas, _shape_distance(obj.shape, u, v, obj.radius), color)


def render(scene: Scene, *, clutter: int = 1) -> Tensor:
    """The image of a scene: (3, 64, 64) float32 in [0, 1]. ``clutter``: how often things that no caption names are strewn on the ground."""
    rng = np.random.default_rng(scene.ground_seed)
    canvas = _ground(rng)
    for _ in range(clutter):
        canvas = _add_clutter(canvas, rng)
    for obj in scene.objects:
        canvas = _add_object(canvas, obj, rng)
    return canvas.clamp(0, 1)


def foreground(scene: Scene) -> Tensor:
    """Which pixels belong to named objects: (1, 64, 64) float32 in [0, 1]."""
    x, y = _grid()
    distances = [_shape_distance(o.shape, *_turn(x - o.x, y - o.y, o.angle), o.radius) for o in scene.objects]
    return (0.5 - torch.stack(distances).amin(0)).clamp(0, 1)[None]
