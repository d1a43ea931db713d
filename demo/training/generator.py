"""Train the generator: ComfyUI's UNet and a text encoder together, on latents, to predict the noise in them.

The schedule of noise is Stable Diffusion's, so that ComfyUI samples it as any eps model.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import build_generator_text_encoder, build_unet, initialize
from ..tokens import build_tokenizer
from .loop import Schedule, draw, precision, train

SCHEDULE = Schedule(steps=12500, rate=8e-4, average=0.9995, save_every=1000)
BATCH, NO_CAPTION, SNR_LIMIT = 64, 0.1, 5.0


class Generator(nn.Module):
    """The denoiser and the text encoder that it listens to."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = build_unet()
        self.text = build_generator_text_encoder()

    def forward(self, x: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        """Noise in ``x`` (B, 16, 8, 8), given timesteps (B,) and token rows (B, 24)."""
        context = self.text(input_ids=ids).last_hidden_state
        return self.unet(x, timesteps, context=context, transformer_options={"optimized_attention_override": plain_attention})


def plain_attention(_func: object, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **_: object) -> Tensor:
    """Attention by two matrix products, (B, n, c) each; at 64 tokens faster to train on a CPU than the fused kernel."""
    q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def noise_levels() -> Tensor:
    """sigma of each of the 1000 timesteps, as ComfyUI's ``ModelSamplingDiscrete`` has them."""
    from comfy.model_sampling import ModelSamplingDiscrete

    return ModelSamplingDiscrete().sigmas.float().cpu()


def latent_scale(latents: np.ndarray) -> float:
    """What unscaled latents are multiplied by to have unit standard deviation."""
    return float(1.0 / latents[:5000].astype(np.float32).std())


def train_generator(folder: Path, latents: np.ndarray, captions: Sequence[str], scale: float, device: torch.device) -> Generator:
    """Train it on scaled latents and their captions, or load what was trained in ``folder``."""
    torch.manual_seed(40)
    model = Generator()
    initialize(model.unet, torch.Generator().manual_seed(40))
    model.to(device)
    tokenizer = build_tokenizer()
    rows = tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    empty = tokenizer("", padding="max_length", return_tensors="pt")["input_ids"][0]
    sigmas = noise_levels()

    def loss(generator: torch.Generator) -> Tensor:
        chosen = draw(BATCH, len(latents), generator)
        clean = torch.from_numpy(latents[chosen.numpy()]).float() * scale
        ids = torch.where((torch.rand(BATCH, generator=generator) < NO_CAPTION)[:, None], empty, rows[chosen])
        t = draw(BATCH, len(sigmas), generator)
        sigma = sigmas[t].view(-1, 1, 1, 1)
        noise = torch.randn(clean.shape, generator=generator)
        noisy = (clean + sigma * noise) / (sigma.square() + 1).sqrt()
        with precision(device):
            predicted = model(noisy.to(device), t.to(device), ids.to(device))
        error = (predicted.float() - noise.to(device)).square().mean((1, 2, 3))
        # Min-SNR weighting (arXiv 2303.09556, for noise prediction): min(SNR, 5) / SNR with SNR = 1 / sigma^2.
        return (error * (SNR_LIMIT * sigma.flatten().square()).clamp(max=1).to(device)).mean()

    trained = train("generator", model, loss, SCHEDULE, folder, seed=40)
    assert isinstance(trained, Generator)
    return trained


@torch.no_grad()
def denoise(model: Generator, x: Tensor, *, ids: Tensor, empty: Tensor, sigmas: Tensor, cfg: float) -> Tensor:
    """Euler from sigma to sigma, (n + 1,) falling to 0, on ``x`` (B, 16, 8, 8) at the first of them; returns clean latents."""
    table = noise_levels()
    for sigma, following in pairwise(sigmas):
        t = (table - sigma).abs().argmin().expand(2 * len(x))
        scaled = x / (sigma.square() + 1).sqrt()
        with_text, without = model(scaled.repeat(2, 1, 1, 1), t, torch.cat([ids, empty.expand_as(ids)])).chunk(2)
        x = x + (following - sigma) * (without + cfg * (with_text - without))
    return x
