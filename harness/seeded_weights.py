"""Weights and images made from nothing but names and sizes, for tests and benchmarks of networks whose real weights are large.

The recipe is exact on every machine: uniform numbers of torch's CPU generator are made of integers, and each tensor has a
generator of its own, seeded by its name, so that order does not matter.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor


def uniform(name: str, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Return float32 numbers in [0, 1) that depend on the name and shape alone."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))


def seeded_state(shapes: Mapping[str, Tensor], gains: Mapping[str, float] | None = None) -> dict[str, Tensor]:
    """Return a state dict with the keys and shapes of ``shapes`` (a state dict, which may be on the meta device).

    With u uniform in [0, 1) and v = 2u - 1: counters 0; running means 0.2 v; running variances 0.5 + u; other vectors ending in
    "weight" 1 + 0.4 v; other vectors 0.2 v; everything else v sqrt(3 g / n), n being the numbers per output, so that its variance is
    g / n. The gain g is 1, or that of the longest prefix of the key in ``gains``.
    """
    state = {}
    for key, like in shapes.items():
        u = uniform(key, like.shape)
        v = 2 * u - 1
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros((), dtype=torch.long)
        elif key.endswith("running_mean"):
            state[key] = 0.2 * v
        elif key.endswith("running_var"):
            state[key] = 0.5 + u
        elif like.dim() == 1:
            state[key] = 1 + 0.4 * v if key.endswith("weight") else 0.2 * v
        else:
            prefixes = [prefix for prefix in gains or {} if key.startswith(prefix)]
            gain = (gains or {})[max(prefixes, key=len)] if prefixes else 1.0
            state[key] = v * (3 * gain / like[0].numel()) ** 0.5
    return state


def seeded_images(batch: int, height: int, width: int) -> Tensor:
    """Return (B, 3, H, W) in [0, 1]: soft colored blobs, as unlike noise as a photograph is."""
    coarse = uniform(f"pictures {batch}", (batch, 3, 5, 7))  # a seed, which the recorded maps were made with
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    return smooth.clamp(0, 1)
