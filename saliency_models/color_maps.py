"""Perceptually uniform color maps: equal steps of saliency look like equal steps of color, also in print and to the color-blind."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

# 33 evenly spaced colors of each map; between them colors are interpolated, within 2 of 255 levels of the originals, which were made
# by Stefan van der Walt and Nathaniel Smith for matplotlib and put into the public domain (CC0).
_TABLES = {
    "inferno": "0000040403120b0724150b37210c4a2e0a5a3c09654a0c6b57106d63146e70196e7d1e6d89226a962766a32b61af315cbb3755c63e4dd14644"
    "db4f3be35932eb6528f1711ef67f14f98d0afb9c06fcab0ffbba1ff9ca32f5d949f2e865f3f586fcffa4",
    "viridis": "440154470d6048186a482374472d7b4536814240863f49893b528b375a8d33638d2f6a8e2c728e297a8e26818e23898e21908c1f988b1f9f88"
    "21a68528ae8031b57b3ebc744cc26c5dc9636ece5882d34c96d83fabdc32c0df24d5e21aeae51afde725",
    "magma": "0000040303110a0822130d331d114628115a36106a430f7650127c5d177f691c817621818226818f2a819c2e7fa9327db63779c33b75cf4170"
    "db486ae65163ee5c5ef5695cf9785dfb8761fd9668fea571feb47bfec387fed194fde0a2fceeb0fcfdbf",
    "gray": "000000ffffff",
}

NAMES: tuple[str, ...] = tuple(_TABLES)


def color(maps: Tensor, name: str = "inferno") -> Tensor:
    """Color maps.

    Args:
        maps: (B, 1, H, W), clamped to [0, 1].
        name: one of ``NAMES``.

    Returns:
        (B, 3, H, W) in [0, 1], dtype and device of ``maps``.

    Raises:
        ValueError: a color map of another name.
    """
    if name not in _TABLES:
        raise ValueError(f"There is no color map called {name!r}. Choose one of: {', '.join(NAMES)}.")
    table = torch.tensor(list(bytes.fromhex(_TABLES[name])), dtype=maps.dtype, device=maps.device).reshape(-1, 3) / 255
    place = maps[:, 0].clamp(0, 1) * (len(table) - 1)
    lower = place.detach().long().clamp(max=len(table) - 2)
    share = (place - lower)[..., None]
    return rearrange(table[lower] * (1 - share) + table[lower + 1] * share, "b h w c -> b c h w")
