"""The best images of one SGOOL run, as SGOOL Best of N has those of several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..image_ops.contact_sheet import contact_sheet
from ..latent_optimization.candidates import Candidate, captions_of, table_of, thumbnail
from ..latent_optimization.top_k import Kept

EXPLAINED = (
    "Of {images} the best that the run made, the one that it chose first, the others by score. A score is the loss without augmentations, "
    "times -1; noise 0 is the seed's own."
)
NESTED = "This latent has several parts (such as image and sound), of which the run's best cannot be kept: set top_k to 1."


def candidates_of(
    kept: Sequence[Sequence[Kept]], sampled: Callable[[Tensor], Tensor], decoded: Callable[[Tensor], Tensor]
) -> list[list[Candidate]]:
    """What was kept of each image, in order, with thumbnails.

    Args:
        kept: of each image, the best first.
        sampled: of one entry's latent ``(1, ...)`` what the sampler returned of it, in the model's space.
        decoded: of that the images that are scored, ``(n, 3, H, W)``.
    """

    def candidate(number: int, place: int, each: Kept) -> Candidate:
        samples = sampled(each.latent[None])
        images = decoded(samples)
        small = thumbnail(images[len(images) // 2])
        return Candidate(number, place, each.score, small, samples=samples.cpu(), origin=each.origin, noise=each.noise[None])

    return [[candidate(number, place, each) for number, each in enumerate(several)] for place, several in enumerate(kept)]


def top_text(top: Sequence[Sequence[Candidate]]) -> str:
    """A table for each image."""
    blocks = [EXPLAINED.format(images="each image" if len(top) > 1 else "the image")]
    for number, candidates in enumerate(top, start=1):
        blocks.append("\n".join([f"Image {number}", *table_of(candidates, len(candidates))]))
    return "\n\n".join(blocks)


def top_sheet(top: Sequence[Sequence[Candidate]]) -> Tensor:
    """All of them with rank, score and origin, as an IMAGE; one image of the batch after another."""
    captions = [
        [*lines[:-1], lines[-1] + (f", image {number}" if len(top) > 1 else "")]
        for number, candidates in enumerate(top, start=1)
        for lines in captions_of(candidates)
    ]
    flat = [each for candidates in top for each in candidates]
    return contact_sheet([each.thumbnail for each in flat], captions, marked=len(flat))


def in_latent(model: Any, samples: Tensor, like: Tensor) -> Tensor:
    """What a sampler returned, in the model's space, as core makes a LATENT's ``samples`` of it."""
    with torch.no_grad():
        made: Tensor = model.process_latent_out(samples.to(torch.float32))
    return made.to(like)
