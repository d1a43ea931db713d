"""The images that everything is trained on, painted once and kept in the training folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..captions import COLOR_NAMES, SHAPES, SIZES, held_out
from ..judging import CELL
from ..render import render
from ..scenes import SIDE, Scene, draw_scenes, mirrored

TRAIN_SEED, HELD_OUT_SEED, FRESH_SEEDS = 1, 2, 1000


@dataclass(frozen=True)
class Scenes:
    """Scenes with their images, (N, 3, 64, 64) uint8 on disk."""

    scenes: list[Scene]
    images: np.ndarray

    def batch(self, indices: Tensor) -> Tensor:
        """Images (n, 3, 64, 64) float32 in [0, 1]."""
        return torch.from_numpy(self.images[indices.numpy()]).float() / 255.0

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, list[Scene]]:
        """``n`` of them at random, half of those mirrored."""
        chosen = torch.randint(len(self.images), (n,), generator=generator)
        images, scenes = self.batch(chosen), [self.scenes[i] for i in chosen.tolist()]
        for i in torch.rand(n, generator=generator).lt(0.5).nonzero().flatten().tolist():
            other = mirrored(scenes[i])
            if not held_out(other.caption.text()):
                images[i], scenes[i] = images[i].flip(-1), other
        return images, scenes

    def __len__(self) -> int:
        return len(self.scenes)


class FreshScenes:
    """Scenes that were never painted before, for what learns its 60 000 by heart."""

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, list[Scene]]:
        scenes = draw_scenes(n, int(torch.randint(FRESH_SEEDS, 2**31, (1,), generator=generator)))
        return torch.stack([render(scene) for scene in scenes]), scenes


class Source(Protocol):
    """Gives images (n, 3, 64, 64) in [0, 1] and their scenes."""

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, list[Scene]]: ...


def cached(path: Path, shape: tuple[int, ...], dtype: str, fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """An array on disk, filled once; a half-filled one is never taken for whole."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        array = np.lib.format.open_memmap(part, "w+", dtype=np.dtype(dtype), shape=shape)
        fill(array)
        array.flush()
        del array
        part.replace(path)
    array = np.load(path, mmap_mode="r")
    if array.shape != shape:
        raise ValueError(f"{path} holds an array of shape {array.shape}, but {shape} is needed. Delete it to have it made again.")
    return array


def as_bytes(images: Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def load_scenes(folder: Path, n: int, *, held_out: bool = False) -> Scenes:
    """``n`` scenes and their images; held-out ones have captions that no training scene has."""
    scenes = draw_scenes(n, HELD_OUT_SEED if held_out else TRAIN_SEED, keep_held_out=held_out)

    def fill(array: np.ndarray) -> None:
        for i, scene in enumerate(scenes):
            array[i] = as_bytes(render(scene))

    name = f"{'held-out' if held_out else 'train'}-{n}.npy"
    return Scenes(scenes, cached(folder / name, (n, 3, SIDE, SIDE), "uint8", fill))


def detection_targets(scenes: list[Scene], cell: int = CELL) -> dict[str, Tensor]:
    """What a detector should say, one guess per ``cell`` pixels: ``center`` (n, h, w) in [0, 1], a small Gaussian about
    each center, and, for each object, its image, row, column, classes and offset from the cell's middle in cells."""
    side = SIDE // cell
    axis = (torch.arange(side) + 0.5) * cell
    center = torch.zeros(len(scenes), side, side)
    rows: list[list[float]] = []
    for i, scene in enumerate(scenes):
        for o in scene.objects:
            distance = (axis[None, :] - o.x) ** 2 + (axis[:, None] - o.y) ** 2
            center[i] = torch.maximum(center[i], torch.exp(-distance / (2 * (0.6 * cell) ** 2)))
            row, column = int(o.y // cell), int(o.x // cell)
            center[i, row, column] = 1.0
            classes = COLOR_NAMES.index(o.color), SHAPES.index(o.shape), SIZES.index(o.size)
            rows.append([i, row, column, *classes, o.x / cell - column - 0.5, o.y / cell - row - 0.5])
    table = torch.tensor(rows)
    names = ("image", "row", "column", "color", "shape", "size")
    return {"center": center, **{n: table[:, k].long() for k, n in enumerate(names)}, "offset": table[:, 6:]}


def write_report(path: Path, **figures: object) -> None:
    """Add figures to the JSON file from which docs/demo-model.md is written."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known.update(figures)
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
