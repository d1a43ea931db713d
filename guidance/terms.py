"""What the terms of a sum of objectives do to each other: their gradients apart, the share of each, and what there is to say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

HARDLY = 1e-9
"""Of the largest gradient: one that is smaller is taken for none."""

DOMINATES = 0.95
Place = tuple[int, int]


def norms(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """``(terms, B)``: the Euclidean norm of each term's gradient in each image of ``like (B, ...)``; 0 where there is none."""
    none = torch.zeros(len(like), dtype=torch.float64)
    return torch.stack([none if each is None else each.double().flatten(1).norm(dim=1).cpu() for each in gradients])


def balanced(weights: Tensor, sizes: Tensor) -> Tensor:
    """Factors ``(terms, B)`` under which each term makes its share of the gradient: ``sign(w) |w| / sum |w|`` of the sum of all norms.

    So equal weights change nothing where the gradients are equally large. A term that has hardly any gradient keeps its weight.

    Args:
        weights: ``(terms,)``.
        sizes: the norms ``(terms, B)``, from :func:`norms`.
    """
    shares = weights[:, None] / weights.abs().sum()
    whole = sizes.sum(0, keepdim=True)
    usable = torch.isfinite(sizes) & (sizes > HARDLY * sizes.amax(0, keepdim=True))
    return torch.where(usable, shares * whole / sizes.clamp(min=torch.finfo(sizes.dtype).tiny), weights[:, None].expand_as(sizes))


def shares(sizes: Tensor) -> Tensor:
    """The part of the sum of the norms ``(terms, B)`` that each has; NaN where all are 0."""
    return sizes / sizes.sum(0, keepdim=True)


def agreements(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """``(terms, B)``: the cosine between each gradient and the sum of the others; below 0 they are in conflict, NaN where one is 0."""
    flat = [torch.zeros_like(like).flatten(1) if each is None else each.flatten(1) for each in gradients]
    whole = torch.stack(flat).sum(0)
    found = []
    for each in flat:
        others = whole - each
        sizes = each.norm(dim=1) * others.norm(dim=1)
        found.append(torch.where(sizes > 0, (each * others).sum(1) / sizes, torch.nan).double().cpu())
    return torch.stack(found)


class Ledger:
    """What each term of a sum said in a run.

    Args:
        labels: names of the terms.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.factors: dict[Place, Tensor] = {}
        self._last: dict[tuple[int, Place], float] = {}
        self._values: list[list[float]] = [[] for _ in labels]
        self._left_out: list[Counter[int]] = [Counter() for _ in labels]
        self._shares: list[Tensor] = []

    def note(self, losses: Tensor, usable: Tensor, places: Sequence[Place]) -> Tensor:
        """Write down ``losses (terms, B)``, and return them with the last usable one of its image, or 0, in the place of what is not."""
        filled = losses.clone()
        for term, row in enumerate(losses.tolist()):
            for column, (value, place) in enumerate(zip(row, places, strict=True)):
                if usable[term, column]:
                    self._last[term, place] = value
                    self._values[term].append(value)
                else:
                    self._left_out[term][place[0] + 1] += 1
                    filled[term, column] = self._last.get((term, place), 0.0)
        return filled

    def note_shares(self, found: Tensor) -> None:
        """Write down shares ``(terms, B)`` of the gradient."""
        self._shares.append(found)

    def remarks(self) -> list[str]:
        """Sentences for the user."""
        said = []
        for label, left_out, values in zip(self.labels, self._left_out, self._values, strict=True):
            if left_out:
                images = " and ".join(f"{image} ({count} times)" for image, count in sorted(left_out.items()))
                said.append(f"{label} was no finite number for image {images}: it was left out there, and the others went on.")
            if len(values) > 2 and min(values) == max(values):
                said.append(f"{label} gave the same number each time, {values[0]:.4g}: it is constant, and changes nothing.")
        return said + self._dominant()

    def _dominant(self) -> list[str]:
        if not self._shares:
            return []
        middle = torch.cat(self._shares, dim=1).nanmedian(dim=1).values
        first = int(middle.nan_to_num(0).argmax())
        if len(self.labels) < 2 or not middle[first] > DOMINATES:
            return []
        return [
            f"{self.labels[first]} makes {100 * float(middle[first]):.0f} % of the gradient, so that the other objectives hardly count: "
            "give it a smaller weight, or let the weights be shares of the gradient (Combine Objectives)."
        ]
