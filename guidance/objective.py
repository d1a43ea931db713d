"""What is optimized: a function from images to one loss per image, and the weighted sum of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..numerics.given_gradient import with_gradient
from .augmentations import Augmentations
from .terms import Ledger, Place, agreements, balanced, norms, shares

LONGEST = 22


@dataclass(frozen=True)
class Context:
    """Where in a run an objective is asked.

    Attributes:
        iteration: iteration of the optimizer; 0 is before the first update.
        generator: a CPU generator that augmentations draw from. ``None`` asks for the score without any randomness.
        index: the place of the first of the images in the run's batch; the others follow it.
        batch_size: how many images the run's batch has, where that is known.
        frame: which of a video's scored frames the image is, from 0; 0 for an image.
    """

    iteration: int = 0
    generator: torch.Generator | None = None
    index: int = 0
    batch_size: int | None = None
    frame: int = 0

    def choose(self, available: int, images: int, what: str) -> list[int]:
        """Which of ``available`` prompts or masks belongs to each of ``images`` images: the only one, or the one of its place in the batch.

        Raises:
            ValueError: for another number than one or the batch's; ``what`` names them.
        """
        if available == 1:
            return [0] * images
        batch = self.index + images if self.batch_size is None else self.batch_size
        if available != batch:
            there = f"{batch} image{'s' if batch > 1 else ''}"
            raise ValueError(f"There are {available} {what} for {there}; give one for all images, or one for each.")
        return list(range(self.index, self.index + images))


@dataclass(frozen=True)
class Scored:
    """What an objective says about ``B`` images.

    Attributes:
        losses: ``(B,)``, lower is better, differentiable in the images.
        parts: name -> ``(B,)`` detached numbers for the history.
    """

    losses: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """A differentiable judgment of images ``(B, 3, H, W)`` in [0, 1]; the loss of each depends on that image alone."""

    def begin(self) -> None:
        """Forget whatever was cached in an earlier run."""

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Objective:
        """The same objective scored on other augmentations, as a copy; itself where it scores none.

        Args:
            augmentations: the random ones.
            reduce: how their losses become one: ``"mean"`` or ``"minimum"``.
            region: how a salient part is shown, see ``regions``; ``None`` leaves that.
        """

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Score the images; lower is better."""


BALANCES = ("factors", "shares of the gradient")


class WeightedSum:
    """The sum of objectives, each times its weight.

    A term of weight 0 is never called. Parts keep their names; where two terms report the same name, the later one is
    numbered (``"global"``, ``"global 2"``). Of two terms or more there are also, under each one's label, its weighted ``loss``, and with a
    gradient its ``share`` of it and its ``agreement`` with the others: the cosine between its gradient in the image and the sum of theirs,
    which is below 0 where they are in conflict. Each term's graph is freed before the next one is asked.

    A term that is no finite number for an image, or has such a gradient, is left out there: the last one it gave for that image stands in
    its place. Where that is so of all terms, the loss is not finite.

    Args:
        terms: weights and objectives.
        balance: what weights mean. ``"factors"`` of the losses; or ``"shares of the gradient"`` that each makes when an image is first
            scored in a run. The factors that follow from those stay for the rest of the run; see ``terms.balanced``.

    Raises:
        ValueError: without terms, with a weight that is not finite, or if all weights are zero.
    """

    def __init__(self, terms: Sequence[tuple[float, Objective]], balance: str = BALANCES[0]) -> None:
        if not terms:
            raise ValueError("There is no objective to combine; connect at least one.")
        if balance not in BALANCES:
            raise ValueError(f"The weights of objectives cannot be {balance!r}; they are {' or '.join(BALANCES)}.")
        for weight, _ in terms:
            if not math.isfinite(weight):
                raise ValueError(f"The weight of an objective is {weight}; it has to be a finite number.")
        self.terms = [(float(weight), term) for weight, term in terms if weight != 0]
        if not self.terms:
            raise ValueError("The weights of all objectives are zero, so there is nothing to optimize; set one of them above zero.")
        self.balance = balance
        self._labels = _labels([term for _, term in self.terms])
        self._ledger = Ledger(self._labels)

    def begin(self) -> None:
        """Forget an earlier run, with whatever the terms cached in it."""
        self._ledger = Ledger(self._labels)
        for _, term in self.terms:
            term.begin()

    def remarks(self) -> list[str]:
        """Sentences about the run since ``begin``: terms that were left out, are constant, or make nearly all of the gradient."""
        return self._ledger.remarks() + [each for _, term in self.terms for each in remarks_of(term)]

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Objective:
        """The sum of the terms' own changed copies; itself where none changes."""
        terms = [(weight, term.augmented(augmentations, reduce, region)) for weight, term in self.terms]
        changed = any(new is not old for (_, new), (_, old) in zip(terms, self.terms, strict=True))
        return WeightedSum(terms, self.balance) if changed else self

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Return the weighted sum of the terms' losses, their parts side by side."""
        if len(self.terms) == 1:
            weight, only = self.terms[0]
            scored = only(images, context)
            return Scored(weight * scored.losses, scored.parts)
        with_grad = images.requires_grad and torch.is_grad_enabled()
        asked = [_asked(term, images, context, with_grad) for _, term in self.terms]
        gradients = [gradient for _, gradient in asked]
        losses = torch.stack([scored.losses.detach().to(images.device, torch.float64) for scored, _ in asked])
        places = [(context.index + row, context.frame) for row in range(len(images))]
        factors = self._factors(images, context, places, gradients if with_grad else None).to(losses)
        usable = torch.isfinite(losses)
        if with_grad:
            usable &= torch.isfinite(norms(gradients, images)).to(usable.device)
        filled = factors * self._ledger.note(losses, usable, places)
        total = torch.where(usable.any(0), filled.sum(0), torch.nan)
        parts = _side_by_side([scored.parts for scored, _ in asked])
        self._add(parts, "loss", filled)
        kind = torch.promote_types(images.dtype, torch.float32)
        if not with_grad or all(gradient is None for gradient in gradients):
            return Scored(total.to(kind), parts)
        weighted = [_times(factor, gradient, good) for factor, gradient, good in zip(factors, gradients, usable, strict=True)]
        self._add(parts, "share", found := shares(norms(weighted, images)))
        self._add(parts, "agreement", agreements(weighted, images))
        self._ledger.note_shares(found)
        whole = torch.stack([each for each in weighted if each is not None]).sum(0)
        return Scored(with_gradient(total.to(kind), images, whole), parts)

    def _add(self, parts: dict[str, Tensor], what: str, values: Tensor) -> None:
        parts |= {_free_name(f"{label}: {what}", parts): row for label, row in zip(self._labels, values, strict=True)}

    def _factors(self, images: Tensor, context: Context, places: list[Place], gradients: list[Tensor | None] | None) -> Tensor:
        """``(terms, B)``; in shares, measured at the first call for an image: there also where no gradient was asked for."""
        weights = torch.tensor([weight for weight, _ in self.terms], dtype=torch.float64)
        if self.balance == BALANCES[0]:
            return weights[:, None].expand(-1, len(images))
        known = self._ledger.factors
        if any(place not in known for place in places):
            if gradients is None:
                with torch.inference_mode(False), torch.enable_grad():
                    plain = replace(context, generator=None)
                    gradients = [_asked(term, images, plain, True)[1] for _, term in self.terms]
            found = balanced(weights, norms(gradients, images))
            known.update({place: found[:, row] for row, place in enumerate(places) if place not in known})
        return torch.stack([known[place] for place in places], dim=1)


def salient_maps_of(objective: object) -> dict[int, Tensor]:
    """The last map ``(1, h, w)`` that an objective looked at, by the image's place in the batch; of several the first that has any."""
    for each in [objective, *(term for _, term in getattr(objective, "terms", ()))]:
        found: dict[int, Tensor] = getattr(each, "last_maps", {})
        if found:
            return found
    return {}


def remarks_of(objective: object) -> list[str]:
    """What an objective has to say of its last run; nothing for most."""
    remarks = getattr(objective, "remarks", None)
    return list(remarks()) if callable(remarks) else []


def _asked(term: Objective, images: Tensor, context: Context, with_grad: bool) -> tuple[Scored, Tensor | None]:
    """What a term says, and its gradient in the images, or ``None`` where it has none."""
    if not with_grad:
        return term(images, context), None
    leaf = images.detach().clone().requires_grad_()
    scored = term(leaf, context)
    if not scored.losses.requires_grad:
        return scored, None
    (gradient,) = torch.autograd.grad(scored.losses.sum(), leaf, allow_unused=True)
    return scored, gradient


def _times(factors: Tensor, gradient: Tensor | None, usable: Tensor) -> Tensor | None:
    if gradient is None:
        return None
    rows = (-1, *[1] * (gradient.ndim - 1))
    return torch.where(usable.to(gradient.device).reshape(rows), factors.to(gradient).reshape(rows) * gradient, 0.0)


def _labels(terms: Sequence[Objective]) -> list[str]:
    taken: dict[str, Any] = {}
    for number, term in enumerate(terms, start=1):
        name = str(getattr(term, "name", "") or f"objective {number}")
        taken[_free_name(name[:LONGEST], taken)] = term
    return list(taken)


def _side_by_side(of_terms: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    parts: dict[str, Tensor] = {}
    for each in of_terms:
        for name, values in each.items():
            parts[_free_name(name, parts)] = values
    return parts


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free
