"""The best of what needs no download: graph-based saliency and the Image Signature together, times a center prior."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ..image_ops.resize import resize
from .center_prior import SIGMA, central_gaussian
from .entries import Entry
from .graph_based import GraphBasedSaliency
from .image_signature import ImageSignature
from .interface import SaliencyModel
from .maps import divide_by_maximum


class DefaultSaliency(SaliencyModel):
    """Mean of graph-based saliency and soft Image Signature, each with mean 1, times a central Gaussian.

    Args:
        center_prior: 1 multiplies by the central Gaussian, 0 leaves it out; in between, by that power of it.
        sigma: of the Gaussian, as a part of each side.
    """

    kind = "bottom-up"

    def __init__(self, center_prior: float = 1.0, sigma: float = SIGMA) -> None:
        super().__init__()
        if not 0 <= center_prior <= 1 or sigma <= 0:
            raise ValueError(f"The center prior needs a strength from 0 (none) to 1 and a sigma above 0; got {center_prior} and {sigma}.")
        self.center_prior, self.sigma = center_prior, sigma
        self.name = "default" if center_prior else "default-without-center"
        self.graph, self.signature = GraphBasedSaliency(), ImageSignature()

    def at_size(self, longest: int, image: tuple[int, int]) -> SaliencyModel:
        """Return a twin whose parts look at images of that size."""
        twin = DefaultSaliency(self.center_prior, self.sigma)
        twin.name = self.name
        twin.graph.side = twin.signature.side = longest
        return twin

    def without_center(self) -> SaliencyModel:
        """Return a twin, without weights as this one."""
        twin = DefaultSaliency(0.0, self.sigma)
        twin.graph.side, twin.signature.side = self.graph.side, self.signature.side
        return twin

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, h, w) maps on the graph's grid; the maximum of each is 1."""
        graph = self.graph.predict(images)
        size = (graph.shape[-2], graph.shape[-1])
        signature = resize(self.signature.predict(images), size)
        both = graph / graph.mean(dim=(-2, -1), keepdim=True) + signature / signature.mean(dim=(-2, -1), keepdim=True)
        return divide_by_maximum(both * central_gaussian(size, both, self.sigma) ** self.center_prior)


ENTRIES = [
    Entry(
        name="default",
        kind="bottom-up",
        license="Apache-2.0",
        build=DefaultSaliency,
    ),
    Entry(
        name="default-without-center",
        kind="bottom-up",
        license="Apache-2.0",
        build=partial(DefaultSaliency, center_prior=0.0),
    ),
]
