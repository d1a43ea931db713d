"""The last layers that LAION's aesthetic predictor, ImageReward and CycleReward share: from one vector to one number."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

INNER_WIDTHS = (1024, 128, 64, 16, 1)


class Head(nn.Module):
    """Five linear layers, ``(B, width)`` to ``(B,)``, with nothing or a GELU between them.

    Args:
        width: numbers in a vector.
        places: the layers' numbers in the published file; those between are of dropout or GELU.
        gelu: whether there is a GELU between the layers.
    """

    def __init__(self, width: int, places: Sequence[int], gelu: bool) -> None:
        super().__init__()
        pairs = itertools.pairwise((width, *INNER_WIDTHS))
        self.layers = nn.ModuleDict({str(place): nn.Linear(*pair) for place, pair in zip(places, pairs, strict=True)})
        self._gelu = gelu

    def forward(self, vectors: Tensor) -> Tensor:
        """Each vector's score."""
        for number, layer in enumerate(self.layers.values()):
            vectors = layer(functional.gelu(vectors) if self._gelu and number else vectors)
        return vectors[:, 0]
