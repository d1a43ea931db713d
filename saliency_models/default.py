"""The best of what needs no download: graph-based saliency and the Image Signature together, times a centre prior."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from .centre_prior import central_gaussian
from .graph_based import GraphBasedSaliency
from .image_signature import ImageSignature
from .interface import SaliencyModel
from .pictures import divide_by_maximum, resize
from .registry import Entry


class DefaultSaliency(SaliencyModel):
    """Mean of graph-based saliency and soft Image Signature, each with mean 1, times a central Gaussian.

    Args:
        centre_prior: 1 multiplies by the central Gaussian, 0 leaves it out; in between, by that power of it.
        sigma: of the Gaussian, as a part of each side.
    """

    kind = "bottom-up"

    def __init__(self, centre_prior: float = 1.0, sigma: float = 0.25) -> None:
        super().__init__()
        if not 0 <= centre_prior <= 1 or sigma <= 0:
            raise ValueError(f"The centre prior needs a strength from 0 (none) to 1 and a sigma above 0; got {centre_prior} and {sigma}.")
        self.centre_prior, self.sigma = centre_prior, sigma
        self.name = "default" if centre_prior else "default-without-centre"
        self.graph, self.signature = GraphBasedSaliency(), ImageSignature()

    def at_size(self, longest: int, picture: tuple[int, int]) -> SaliencyModel:
        """Return a twin whose parts look at pictures of that size."""
        twin = DefaultSaliency(self.centre_prior, self.sigma)
        twin.name = self.name
        twin.graph.side = twin.signature.side = longest
        return twin

    def predict(self, pictures: Tensor) -> Tensor:
        """Return (B, 1, h, w) maps on the graph's grid; the maximum of each is 1."""
        graph = self.graph.predict(pictures)
        size = (graph.shape[-2], graph.shape[-1])
        signature = resize(self.signature.predict(pictures), size)
        both = graph / graph.mean(dim=(-2, -1), keepdim=True) + signature / signature.mean(dim=(-2, -1), keepdim=True)
        return divide_by_maximum(both * central_gaussian(size, self.sigma, both) ** self.centre_prior)


ENTRIES = [
    Entry(
        name="default",
        kind="bottom-up",
        description="Graph-based saliency and Image Signature, times a centre prior: the best here of those that need no download.",
        licence="Apache-2.0",
        build=DefaultSaliency,
    ),
    Entry(
        name="default-without-centre",
        kind="bottom-up",
        description="The default without its centre prior: for pictures whose subject may be anywhere. Nothing to download.",
        licence="Apache-2.0",
        build=partial(DefaultSaliency, centre_prior=0.0),
    ),
]
