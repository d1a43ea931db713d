"""Where randomness comes from: streams of one image's own, so that a batch gives each image what it would get alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Streams:
    """The CPU generators of one image, one for each use, so that more of one use (more candidates, say) leaves the others as they are."""

    candidates: torch.Generator
    augmentations: torch.Generator
    perturbations: torch.Generator
    rescoring: torch.Generator
    nearby: torch.Generator

    @classmethod
    def derive(cls, seed: int, image: bytes) -> Streams:
        """The streams of an image of a run. Every generator is seeded with a hash of the run's seed, the image and the use."""
        uses = ("candidates", "augmentations", "perturbations", "rescoring", "nearby")
        return cls(*(_generator(seed, image, use) for use in uses))


def streams_for(noise: Tensor, seed: int) -> list[Streams]:
    """The streams of each image of ``noise (B, ...)``.

    An image is known by the noise that it was given, not by its place: so it can be made again alone, or in another batch, and runs of
    different seeds share nothing. Images of the same noise have the same streams.
    """
    return [Streams.derive(seed, _digest(each)) for each in noise]


def _digest(noise: Tensor) -> bytes:
    return hashlib.sha256(noise.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()).digest()


def _generator(seed: int, image: bytes, use: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {image.hex()} {use}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % 2**63)


def copy_of(generator: torch.Generator) -> torch.Generator:
    """A generator in the same state, so that what is drawn from it can be drawn again."""
    return torch.Generator().set_state(generator.get_state())


def draw_normal(generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    """Standard normal noise of the shape, dtype and device of ``like (B, ...)``, each image's from its own generator."""
    drawn = [torch.randn(like.shape[1:], generator=generator, dtype=torch.float32) for generator in generators]
    return torch.stack(drawn).to(device=like.device, dtype=like.dtype)
