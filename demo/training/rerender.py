"""Images as the generator paints them, of which it is still known what they show.

A sampled image need not show what its prompt says, so it cannot teach the reward. A training scene's latent, noised
part of the way and denoised again by the generator with the scene's own caption, looks like the generator's images
and keeps its objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..architecture import LATENT_CHANNELS
from ..tokens import build_tokenizer
from .data import as_bytes, cached
from .generator import denoise
from .parts import Painter

STEPS, CFG, LOWEST, HIGHEST = 5, 2.0, 0.35, 1.8
SIGMA_RANGE = 0.0292, 14.6  # of Stable Diffusion's schedule


@torch.no_grad()
def rerender(painter: Painter, latents: np.ndarray, captions: Sequence[str], path: Path, *, seed: int = 50) -> np.ndarray:
    """(n, 3, 64, 64) uint8 on disk: the latents noised to a sigma drawn evenly from ``LOWEST`` to ``HIGHEST``, and back."""
    tokenize = _Tokens()
    draws = torch.Generator().manual_seed(seed)

    def fill(array: np.ndarray) -> None:
        for chunk in torch.arange(len(latents)).split(125):
            clean = torch.from_numpy(latents[chunk.numpy()]).float() * painter.scale
            top = LOWEST + (HIGHEST - LOWEST) * float(torch.rand((), generator=draws))
            sigmas = torch.linspace(1, 0, STEPS + 1) ** 1.5 * top
            noisy = clean + top * torch.randn(clean.shape, generator=draws)
            ids = tokenize([captions[i] for i in chunk.tolist()])
            painted = denoise(painter.generator, noisy, ids=ids, empty=tokenize([""]), sigmas=sigmas, cfg=CFG)
            array[chunk.numpy()] = as_bytes(painter.decode(painted))

    return cached(path, (len(latents), 3, 64, 64), "uint8", fill)


@torch.no_grad()
def sample(painter: Painter, prompts: Sequence[str], *, cfg: float, steps: int = 15, seed: int = 60) -> torch.Tensor:
    """Images (n, 3, 64, 64) in [0, 1] from pure noise, by Euler on Karras' sigmas."""
    tokenize = _Tokens()
    draws = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 1, steps)
    low, high = SIGMA_RANGE[0] ** (1 / 7), SIGMA_RANGE[1] ** (1 / 7)
    sigmas = torch.cat([(high + ramp * (low - high)) ** 7, torch.zeros(1)])
    out = []
    for chunk in torch.arange(len(prompts)).split(125):
        noise = torch.randn((len(chunk), LATENT_CHANNELS, 8, 8), generator=draws) * sigmas[0]
        ids = tokenize([prompts[i] for i in chunk.tolist()])
        out.append(painter.decode(denoise(painter.generator, noise, ids=ids, empty=tokenize([""]), sigmas=sigmas, cfg=cfg)))
    return torch.cat(out)


class _Tokens:
    """Texts to token rows (n, 24)."""

    def __init__(self) -> None:
        self.tokenizer = build_tokenizer()

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        return self.tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
