"""Pictures as the generator paints them, of which it is still known what they show.

A sampled picture need not show what its prompt says, so it cannot teach the scorer. A training scene's latent, noised
part of the way and denoised again by the generator with the scene's own caption, looks like the generator's pictures
and keeps its objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..architecture import LATENT_CHANNELS
from ..tokens import build_tokenizer
from .data import as_bytes, cached
from .generator import Generator, denoise

STEPS, CFG, LOWEST, HIGHEST = 5, 2.0, 0.35, 1.8


@torch.no_grad()
def rerender(
    generator: Generator, autoencoder: nn.Module, latents: np.ndarray, captions: Sequence[str], scale: float, path: Path, seed: int = 50
) -> np.ndarray:
    """(n, 3, 64, 64) uint8 on disk: the latents noised to a sigma drawn evenly from ``LOWEST`` to ``HIGHEST``, and back."""
    tokenizer = build_tokenizer()
    empty = tokenizer("", padding="max_length", return_tensors="pt")["input_ids"]
    draws = torch.Generator().manual_seed(seed)

    def fill(array: np.ndarray) -> None:
        for chunk in torch.arange(len(latents)).split(125):
            clean = torch.from_numpy(latents[chunk.numpy()]).float() * scale
            top = LOWEST + (HIGHEST - LOWEST) * float(torch.rand((), generator=draws))
            sigmas = torch.linspace(1, 0, STEPS + 1) ** 1.5 * top
            ids = tokenizer([captions[i] for i in chunk.tolist()], padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
            noisy = clean + top * torch.randn(clean.shape, generator=draws)
            painted = denoise(generator, noisy, ids, empty, sigmas, CFG) / scale
            array[chunk.numpy()] = as_bytes(autoencoder.decode(painted) / 2 + 0.5)

    return cached(path, (len(latents), 3, 64, 64), "uint8", fill)


@torch.no_grad()
def sample(
    generator: Generator, autoencoder: nn.Module, prompts: Sequence[str], scale: float, cfg: float, steps: int = 15, seed: int = 60
) -> torch.Tensor:
    """Pictures (n, 3, 64, 64) in [0, 1] from pure noise, by Euler on Karras' sigmas."""
    tokenizer = build_tokenizer()
    empty = tokenizer("", padding="max_length", return_tensors="pt")["input_ids"]
    draws = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 1, steps)
    sigmas = torch.cat([(14.6 ** (1 / 7) + ramp * (0.0292 ** (1 / 7) - 14.6 ** (1 / 7))) ** 7, torch.zeros(1)])
    out = []
    for chunk in torch.arange(len(prompts)).split(125):
        ids = tokenizer([prompts[i] for i in chunk.tolist()], padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        noise = torch.randn((len(chunk), LATENT_CHANNELS, 8, 8), generator=draws) * sigmas[0]
        latents = denoise(generator, noise, ids, empty, sigmas, cfg) / scale
        out.append((autoencoder.decode(latents) / 2 + 0.5).clamp(0, 1))
    return torch.cat(out)
