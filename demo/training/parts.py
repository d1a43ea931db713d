"""The trained parts, as export and evaluation take them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .generator import Generator
from .reward import RewardWithHead


@dataclass(frozen=True)
class Painter:
    """What makes images: generator, autoencoder, and the factor between its latents and the generator's."""

    generator: Generator
    autoencoder: nn.Module
    scale: float

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, 16, h, w) to images (B, 3, 8 h, 8 w) in [0, 1]."""
        return (self.autoencoder.decode(latents / self.scale) / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class DemoParts:
    """Everything that is shipped."""

    painter: Painter
    reward: RewardWithHead
    judge: nn.Module
