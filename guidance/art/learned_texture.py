"""Texture by what a learned image encoder sees: Gram matrices of its features, in the place of random filters'."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .view import View

Features = Callable[[Tensor], Sequence[Tensor]]
FAINTEST = 0.01  # of the mean deviation of a layer's channels: a channel that varies less in the reference counts as varying so much


class LearnedTexture:
    """Distance between the texture of images and of references: of Gram matrices of features of a learned encoder, mean of its layers.

    The Gram matrix is that of Gatys, Ecker and Bethge (2015). Transformers have a few channels that are a hundred times as large as the
    others; so that these are not all that counts, each channel is first centered and scaled by its mean and deviation in the references.
    Each layer's distance is relative to the reference's own matrix: 0 is the same, about 1 unlike. Of images that are not square the
    middle square counts, as it does for the encoders themselves. None of this is so for ``plain`` convolutions, such as VGG's: they see
    the whole image, and the matrix is of the maps as they are.

    Args:
        features: images ``(B, 3, h, w)`` in [0, 1] to one map ``(B, C, rows, columns)`` for each layer; differentiable. The images are
            square unless ``plain``.
        references: ``(B, 3, H, W)`` in [0, 1], of any size; their statistics are averaged.
        subject, ground: weights of the two parts, at least 0; where nobody said where the subject is, the whole image has their sum.
        plain: neither cut out the middle square nor center and scale channels.

    Raises:
        ValueError: a weight below 0, or both 0.
    """

    needs_subject = False

    def __init__(self, features: Features, references: Tensor, subject: float = 1.0, ground: float = 1.0, *, plain: bool = False) -> None:
        if not (math.isfinite(subject + ground) and subject >= 0 and ground >= 0 and subject + ground > 0):
            raise ValueError(f"The weights of subject and ground are {subject} and {ground}; set one above zero, and none below.")
        self.features, self.subject, self.ground, self.plain = features, subject, ground, plain
        with torch.inference_mode(False), torch.no_grad():
            maps = features(self._seen(references.detach().clone().clamp(0, 1)))
            self.layers = [_statistics(each.detach().clone(), plain) for each in maps]

    def __call__(self, view: View) -> Tensor:
        found = self.features(self._seen(view.images))
        parts = [("subject", self.subject), ("ground", self.ground)] if view.has_subject else [("image", self.subject + self.ground)]
        losses = [weight * self._distance(found, self._seen(view.weights(where)[:, None])) for where, weight in parts if weight]
        return torch.stack(losses).sum(0) / (self.subject + self.ground)

    def _seen(self, images: Tensor) -> Tensor:
        return images if self.plain else middle_square(images)

    def _distance(self, found: Sequence[Tensor], weights: Tensor) -> Tensor:
        distances = []
        for maps, (mean, deviation, goal) in zip(found, self.layers, strict=True):
            wanted = goal.to(maps)
            gram = gram_matrix((maps - mean.to(maps)) / deviation.to(maps), weights)
            distances.append(((gram - wanted) ** 2).sum((1, 2)) / (wanted**2).sum())
        return torch.stack(distances).mean(0)


def middle_square(images: Tensor) -> Tensor:
    """The middle ``(B, C, s, s)`` of ``(B, C, h, w)``, s being the shorter side."""
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


def gram_matrix(maps: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean ``(B, C, C)`` of the products of channels of ``maps (B, C, rows, columns)``; ``weights (B, 1, h, w)`` >= 0, of any
    scale and size."""
    mass = functional.adaptive_avg_pool2d(weights, (maps.shape[-2], maps.shape[-1])).to(maps) + 1e-12
    mass = mass / mass.sum((2, 3), keepdim=True)
    return torch.einsum("bchw,bdhw->bcd", maps * mass, maps)


def _statistics(maps: Tensor, plain: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and deviation ``(C, 1, 1)`` of the references' channels, and their Gram matrix ``(C, C)`` after both are taken out.

    ``plain``: 0 and 1 in their places.
    """
    mean, deviation = maps.mean((0, 2, 3)), maps.transpose(0, 1).flatten(1).std(1, correction=0)
    deviation = deviation.clamp(min=max(FAINTEST * float(deviation.mean()), 1e-6))
    if plain:
        mean, deviation = torch.zeros_like(mean), torch.ones_like(deviation)
    mean, deviation = mean[:, None, None], deviation[:, None, None]
    even = torch.ones_like(maps[:, :1])
    gram = gram_matrix((maps - mean) / deviation, even).mean(0)
    # A reference without any texture has a matrix of zeros, to which no distance is relative.
    return mean, deviation, gram if bool(gram.any()) else gram + functional.one_hot(torch.arange(len(gram)), len(gram)).to(gram) * 1e-3
