"""A segmenter of the demo model's world, trained on its scenes: the best saliency map that there could be, as an upper bound."""

from __future__ import annotations

from pathlib import Path

import torch
from sgool.demo.render import foreground
from sgool.demo.training.data import FreshScenes
from sgool.demo.training.judge import spoil
from sgool.demo.training.loop import Schedule, train
from torch import Tensor, nn

SCHEDULE = Schedule(steps=800, rate=3e-3, average=0.98)


class Segmenter(nn.Module):
    """Images (B, 3, 64, 64) to maps (B, 1, 64, 64) of the named objects' pixels; grounds and clutter are 0."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.Conv2d(48, 48, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(48, 48, 3, 1, 2, dilation=2), nn.ReLU(), nn.Conv2d(48, 16, 1), nn.PixelShuffle(4),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).sigmoid()


def load_segmenter(folder: Path) -> nn.Module:
    """The segmenter in ``folder``, trained there if it is not (two minutes on one core)."""
    torch.manual_seed(40)
    model, fresh = Segmenter(), FreshScenes()

    def loss(generator: torch.Generator) -> Tensor:
        images, scenes = fresh.draw(48, generator)
        wanted = torch.stack([foreground(scene) for scene in scenes])
        return nn.functional.binary_cross_entropy(model(spoil(images, generator)), wanted)

    with torch.enable_grad():
        train("segmenter", model, loss, SCHEDULE, folder, seed=40)
    return model.eval().requires_grad_(False)
