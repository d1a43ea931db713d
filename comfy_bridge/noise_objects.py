"""What flows through a NOISE socket: an object with a seed, which makes noise for a LATENT."""

from __future__ import annotations

from typing import Any

import comfy.sample
import torch


class GivenNoise:
    """NOISE that is there already.

    Args:
        noise: ``(B, ...)``; of one image, it serves every image of a batch.
        seed: for whatever else is random in the run.
    """

    def __init__(self, noise: torch.Tensor, seed: int = 0) -> None:
        self.noise = noise
        self.seed = seed

    def generate_noise(self, input_latent: dict[str, Any]) -> torch.Tensor:
        """What core's nodes call. Raises ``ValueError`` for a latent of another shape."""
        wanted = input_latent["samples"]
        if getattr(wanted, "is_nested", False) or getattr(self.noise, "is_nested", False):
            return self.noise  # of several parts; core compares them itself
        if tuple(self.noise.shape[1:]) != tuple(wanted.shape[1:]) or len(self.noise) not in (1, len(wanted)):
            raise ValueError(
                f"The noise is of {tuple(self.noise.shape)}, the latent of {tuple(wanted.shape)}. Use the latent that the noise was made "
                "for, such as the one that SGOOL Invert Image to Noise hands on."
            )
        # As core's noise does on its way: what draws from torch's global generator, such as a model with merged tokens, draws what it drew.
        comfy.sample.prepare_noise(wanted, self.seed, input_latent.get("batch_index"))
        return self.noise.to("cpu", torch.float32).expand(len(wanted), *self.noise.shape[1:]).clone()
