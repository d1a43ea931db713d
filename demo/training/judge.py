"""Train the judge on scenes, and on the same scenes after the autoencoder; measure it on held-out ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import Judge
from ..judging import compare, detect, split_channels
from .data import Scenes, detection_targets
from .loop import Schedule, draw, precision, train

SCHEDULE = Schedule(steps=6000, rate=2e-3, average=0.998)
BATCH = 64


def spoil(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness and contrast a little and add noise, by image: a judge or reward must not mind."""
    n = len(images)
    gain, lift, noise = (torch.rand((n, 1, 1, 1), generator=generator) for _ in range(3))
    grain = torch.randn(images.shape, generator=generator)
    return (images * (0.9 + 0.2 * gain) + 0.08 * (lift - 0.5) + 0.05 * noise.square() * grain).clamp(0, 1)


def detection_loss(parts: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Centers by a focal loss (CornerNet's, arXiv 1808.01244, eq. 1), classes and offsets where objects are."""
    center, wanted = parts["center"].squeeze(1).float(), targets["center"]
    p = center.sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = wanted == 1
    focal = torch.where(hit, (1 - p) ** 2 * p.log(), (1 - wanted) ** 4 * p**2 * (1 - p).log())
    loss = -focal.sum() / hit.sum()
    at = targets["image"], slice(None), targets["row"], targets["column"]
    for name in ("color", "shape", "size"):
        loss = loss + nn.functional.cross_entropy(parts[name][at].float(), targets[name])
    return loss + nn.functional.l1_loss(parts["offset"][at].float(), targets["offset"]) if "offset" in parts else loss


def train_judge(folder: Path, data: Scenes, decoded: np.ndarray, device: torch.device) -> nn.Module:
    """Train it on scenes and decoded scenes by halves, or load what was trained in ``folder``."""
    torch.manual_seed(20)
    model = Judge().to(device)
    reconstructed = Scenes(data.scenes, decoded)

    def loss(generator: torch.Generator) -> Tensor:
        chosen = draw(BATCH, len(data), generator)
        half = BATCH // 2
        images = torch.cat([data.batch(chosen[:half]), reconstructed.batch(chosen[half:])])
        images = spoil(images, generator).to(device)
        targets = {k: v.to(device) for k, v in detection_targets([data.scenes[i] for i in chosen.tolist()]).items()}
        with precision(device):
            logits = model(images)
        return detection_loss(split_channels(logits), targets)

    return train("judge", model, loss, SCHEDULE, folder, seed=20)


def accuracy(judge: nn.Module, data: Scenes) -> dict[str, float]:
    """How often the judge finds a scene's own caption wholly right, and every object with all its attributes."""
    judge = judge.cpu()
    right = objects = 0
    for chunk in torch.arange(len(data)).split(200):
        for i, seen in zip(chunk.tolist(), detect(judge, data.batch(chunk)), strict=True):
            right += compare(data.scenes[i].caption, seen).right
            truth = sorted((o.color, o.shape, o.size) for o in data.scenes[i].objects)
            objects += truth == sorted((s.color, s.shape, s.size) for s in seen)
    return {"caption": right / len(data), "every attribute": objects / len(data)}
