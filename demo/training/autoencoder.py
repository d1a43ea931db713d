"""Train the autoencoder: L1, squared and gradient differences, and a small KL term (as in latent diffusion, without GAN)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import LATENT_CHANNELS, build_autoencoder, initialize
from .data import Scenes, as_bytes, cached
from .loop import Schedule, draw, precision, train

SCHEDULE = Schedule(steps=3500, rate=2e-3, average=0.998)
BATCH, KL_WEIGHT, GRADIENT_WEIGHT, COLOR_WEIGHT = 48, 3e-5, 0.5, 8.0


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def _loss(model: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
    device = images.device
    with precision(device):
        moments = model.quant_conv(model.encoder(images * 2 - 1))
    mean, log_variance = moments.float().chunk(2, dim=1)
    log_variance = log_variance.clamp(-20, 10)
    noise = torch.randn(mean.shape, generator=generator).to(device)
    with precision(device):
        out = model.decode(mean + (0.5 * log_variance).exp() * noise)
    decoded = out.float() / 2 + 0.5
    # Saturated pixels belong to the things that captions name; the ground may be a little wrong, they and their outlines may not.
    colored = (images.amax(1, keepdim=True) - images.amin(1, keepdim=True) > 0.25).float()
    weight = 1 + COLOR_WEIGHT * nn.functional.max_pool2d(colored, 5, stride=1, padding=2)
    error = decoded - images
    pixels = (weight * (error.abs() + 2 * error.square())).mean()
    across, down = _differences(error)
    edges = (weight[..., :, 1:] * across.abs()).mean() + (weight[..., 1:, :] * down.abs()).mean()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return pixels + GRADIENT_WEIGHT * edges + KL_WEIGHT * kl


def train_autoencoder(folder: Path, data: Scenes, device: torch.device) -> nn.Module:
    """Train it, or load what was trained in ``folder``."""
    model = build_autoencoder()
    initialize(model, torch.Generator().manual_seed(10))
    model.to(device)

    def loss(generator: torch.Generator) -> Tensor:
        return _loss(model, data.batch(draw(BATCH, len(data), generator)).to(device), generator)

    return train("autoencoder", model, loss, SCHEDULE, folder, seed=10)


@torch.no_grad()
def encode_all(model: nn.Module, data: Scenes, path: Path, device: torch.device) -> np.ndarray:
    """The mean latents of all images, (N, 16, 8, 8) float16 on disk, not yet scaled."""

    def fill(array: np.ndarray) -> None:
        for chunk in torch.arange(len(data)).split(500):
            moments = model.quant_conv(model.encoder(data.batch(chunk).to(device) * 2 - 1))
            array[chunk.numpy()] = moments.chunk(2, dim=1)[0].half().cpu().numpy()

    return cached(path, (len(data), LATENT_CHANNELS, 8, 8), "float16", fill)


@torch.no_grad()
def decode_all(model: nn.Module, latents: np.ndarray, path: Path, device: torch.device) -> np.ndarray:
    """Images of latents, (N, 3, 64, 64) uint8 on disk."""

    def fill(array: np.ndarray) -> None:
        for chunk in torch.arange(len(latents)).split(500):
            decoded = model.decode(torch.from_numpy(latents[chunk.numpy()]).float().to(device))
            array[chunk.numpy()] = as_bytes(decoded / 2 + 0.5)

    return cached(path, (len(latents), 3, 64, 64), "uint8", fill)
