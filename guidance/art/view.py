"""Objectives that weigh the pixels of an image by subject and ground: what color, light and texture have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from kornia.color import rgb_to_lab
from torch import Tensor

from ...image_ops.resize import resize, shrink
from ..augmentations import Augmentations
from ..objective import Context, Scored
from .subject import Subject, check_images, mass_of

SIDE = 96  # longer side of the copy that is measured: enough for color and light


class View:
    """What a rule looks at: images, small, and where their subject is.

    Attributes:
        images: ``(B, 3, h, w)`` in [0, 1]. maps: ``(B, 1, h, w)`` in [0, 1], the subject. has_subject: whether somebody said where it is.
    """

    def __init__(self, images: Tensor, maps: Tensor, has_subject: bool, side: int = SIDE) -> None:
        self.images = shrink(images, side).clamp(0, 1)
        self.maps = resize(maps, (self.images.shape[-2], self.images.shape[-1])).clamp(0, 1)
        self.has_subject = has_subject

    @property
    def lab(self) -> Tensor:
        """``(B, 3, h, w)`` CIELAB (D65) over 100: lightness in [0, 1], a and b about -1 to 1."""
        return rgb_to_lab(self.images) / 100

    @property
    def lightness(self) -> Tensor:
        """``(B, h, w)`` in [0, 1]."""
        return self.lab[:, 0]

    def weights(self, where: str) -> Tensor:
        """``(B, h, w)``, sums to one: of the ``"image"``, the ``"subject"`` or the ``"ground"``."""
        if where == "image" or not self.has_subject:
            return mass_of(torch.ones_like(self.maps))
        return mass_of(self.maps if where == "subject" else 1 - self.maps)

    def mean(self, values: Tensor, where: str) -> Tensor:
        """Weighted mean ``(B,)`` or ``(B, C)`` of ``(B, h, w)`` or ``(B, C, h, w)``."""
        weights = self.weights(where)
        return (values * (weights if values.ndim == 3 else weights[:, None])).sum(dim=(-2, -1))


class ViewRule(Protocol):
    """``(view) -> (B,)``, small where the wish is fulfilled. ``needs_subject``: it compares subject and ground."""

    needs_subject: bool

    def __call__(self, view: View) -> Tensor: ...


def asks_for_subject(rule: ViewRule) -> bool:
    """Whether a rule means nothing without a subject."""
    return rule.needs_subject or getattr(rule, "where", "image") != "image"


class ViewObjective:
    """One loss per image by a rule. An :class:`~..objective.Objective`.

    Args:
        name: of the part.
        rule: see ``ViewRule``.
        saliency: where the subject is, see ``Subject``; taken as given. ``None``: every pixel counts alike.
        drawn: draws what was measured: ``(images, view, rule) -> images``.

    Raises:
        ValueError: the rule asks for subject or ground, and nobody said where the subject is.
    """

    def __init__(
        self,
        name: str,
        rule: ViewRule,
        saliency: Callable[[Tensor], Tensor] | Tensor | None,
        drawn: Callable[[Tensor, View, ViewRule], Tensor],
        side: int = SIDE,
    ) -> None:
        self.name, self.rule, self.drawn, self.side = name, rule, drawn, side
        self.subject = Subject(saliency, follows=False)
        if asks_for_subject(rule) and not self.subject.given:
            raise ValueError(f"{name!r} asks for the subject or the ground; connect a saliency model or a mask, which say where it is.")

    def begin(self) -> None:
        """Nothing is kept."""

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> ViewObjective:
        """Itself: it measures whole images."""
        return self

    def view(self, images: Tensor, context: Context) -> View:
        """What the rule looks at."""
        return View(images, self.subject.maps(images, context), self.subject.given, self.side)

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Score ``(B, 3, H, W)`` images in [0, 1]."""
        losses = self.rule(self.view(check_images(images), context))
        return Scored(losses, {self.name: losses.detach()})

    def draw(self, images: Tensor, context: Context) -> Tensor:
        """What was measured, beside or over the images."""
        checked = check_images(images)
        return self.drawn(checked, self.view(checked, context), self.rule)
