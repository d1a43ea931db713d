"""Where randomness comes from: streams of one image's own, so that a batch gives each image what it would get alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_SEEDS = 2**62


@dataclass(frozen=True)
class Streams:
    """The CPU generators of one image, one for each use, so that more of one use (more candidates, say) leaves the others as they are."""

    candidates: torch.Generator
    augmentations: torch.Generator
    perturbations: torch.Generator
    rescoring: torch.Generator

    @classmethod
    def from_generator(cls, generator: torch.Generator) -> Streams:
        """Derive the streams from an image's generator, which is left in the state it was in."""
        source = torch.Generator().set_state(generator.get_state())
        seeds = torch.randint(_SEEDS, (4,), generator=source).tolist()
        return cls(*(torch.Generator().manual_seed(seed) for seed in seeds))


def make_streams(generators: Sequence[torch.Generator] | None, batch: int) -> list[Streams]:
    """Streams for each image of a batch. Without generators, image ``i`` has the seed ``i``.

    Raises:
        ValueError: if there is not one generator per image, or one is not on the CPU.
    """
    if generators is None:
        generators = [torch.Generator().manual_seed(index) for index in range(batch)]
    if len(generators) != batch:
        raise ValueError(f"There are {len(generators)} generators for a batch of {batch}; give one for each image.")
    for generator in generators:
        if generator.device.type != "cpu":
            raise ValueError(f"A generator is on {generator.device}; it has to be on the CPU, where a seed means the same everywhere.")
    return [Streams.from_generator(generator) for generator in generators]


def draw_normal(generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    """Standard normal noise of the shape, dtype and device of ``like (B, ...)``, each image's from its own generator."""
    drawn = [torch.randn(like.shape[1:], generator=generator, dtype=torch.float32) for generator in generators]
    return torch.stack(drawn).to(device=like.device, dtype=like.dtype)
