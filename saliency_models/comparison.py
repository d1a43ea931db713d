"""A saliency map against another map or against fixations: every metric as numbers and text, and an image of both."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ..schema.prompts import quoted
from .center_prior import central_gaussian
from .color_maps import color
from .drawing import fit, mark, overlay, titled
from .fixations import as_points, fixation_density
from .metrics import auc_borji, auc_judd, auc_shuffled, cc, information_gain, kld, nss, sim

METRICS = ("AUC-Judd", "AUC-Borji", "sAUC", "NSS", "IG", "CC", "SIM", "KLD")
_MEANING = {
    "AUC-Judd": "area under the ROC curve, 0.5 is chance, higher is better",
    "AUC-Borji": "the same against random places",
    "sAUC": "the same against where people look in the other images",
    "NSS": "standard deviations above the mean at fixations, 0 is chance, higher is better",
    "IG": "bits per fixation over the baseline, higher is better",
    "CC": "correlation, -1 to 1, higher is better",
    "SIM": "overlap, 0 to 1, higher is better",
    "KLD": "divergence, 0 is equal, lower is better",
}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def parse_points(text: str) -> list[Tensor]:
    """Read fixations from lines of ``x,y`` in pixels (comma, semicolon or blanks between, ``#`` begins a comment).

    A line of dashes (``---``) begins the next image of the batch.

    Returns:
        for each image an (N, 2) float64 tensor of (row, column).

    Raises:
        ValueError: a line that is not two numbers; the sentence names it.
    """
    images: list[list[tuple[float, float]]] = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#", 1)[0].strip()
        if not content:
            continue
        if set(content) == {"-"} and len(content) >= 3:
            images.append([])
            continue
        parts = [part for part in re.split(r"[,;\s]+", content) if part]
        if len(parts) != 2 or not all(_NUMBER.fullmatch(part) for part in parts):
            raise ValueError(
                f"Line {number} of the fixations is {quoted(line.strip())}; expected x,y in pixels, such as 120,85, one fixation a line "
                "(--- begins the next image)."
            )
        images[-1].append((float(parts[1]), float(parts[0])))
    return [torch.tensor(places, dtype=torch.float64).reshape(-1, 2) for places in images]


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes:
        numbers: each of ``METRICS``, (B,), NaN where it could not be computed.
        text: a table with the means, and a line for each image if there are several.
        image: (B, 3, H', W') the map beside what it was compared with.
    """

    numbers: dict[str, Tensor]
    text: str
    image: Tensor

    def mean(self, metric: str) -> float:
        """The mean of a metric over the images that have it, NaN without any."""
        return float(self.numbers[metric].nanmean())


def compare(
    maps: Tensor,
    *,
    reference: Tensor | None = None,
    points: list[Tensor] | None = None,
    others: list[Tensor] | None = None,
    center_baseline: bool = True,
    images: Tensor | None = None,
) -> Comparison:
    """Compare maps with reference maps, with fixations, or with both.

    CC, SIM and KLD compare with ``reference``, or without one with the blurred fixations (8 cycles per image). AUC, NSS and IG need
    fixations. The shuffled AUC needs fixations of other images: ``others``, or else those of the rest of the batch.

    Args:
        maps: (B, 1, H, W).
        reference: (B, 1, h, w), resized to the maps.
        points: for each image (N, 2) of (row, column).
        others: negatives for each image, as ``points``.
        center_baseline: information gain over the center prior ; otherwise over the uniform density.
        images: (B, 3, H, W) to draw on; None draws the maps alone.

    Raises:
        ValueError: neither reference nor points, fixations outside, maps that are not finite.
    """
    if reference is None and points is None:
        raise ValueError("There is nothing to compare the saliency map with: connect a reference map, or give fixations.")
    batch, size = maps.shape[0], (maps.shape[-2], maps.shape[-1])
    numbers = {metric: torch.full((batch,), math.nan, dtype=torch.float64) for metric in METRICS}
    places = None if points is None else as_points(points, batch, size)
    if places is not None:
        numbers.update(_against_points(maps, places, others, center_baseline))
    truth = _truth(maps, reference, places)
    # Without any fixation there is no density either; uniform would be a made-up reference.
    known = torch.ones(batch, dtype=torch.bool) if reference is not None else torch.tensor([len(one) > 0 for one in places or []])
    for metric, score in (("CC", cc), ("SIM", sim), ("KLD", kld)):
        numbers[metric] = torch.where(known, score(maps, truth).cpu(), numbers[metric])
    return Comparison(numbers, _table(numbers, reference is not None, places, center_baseline), _draw(maps, truth, places, images))


def _truth(maps: Tensor, reference: Tensor | None, places: list[Tensor] | None) -> Tensor:
    if reference is not None:
        return fit(reference, maps)
    return fixation_density(places or [], maps.shape[0], (maps.shape[-2], maps.shape[-1])).to(maps)


def _against_points(maps: Tensor, places: list[Tensor], others: list[Tensor] | None, center_baseline: bool) -> dict[str, Tensor]:
    size = (maps.shape[-2], maps.shape[-1])
    baseline = central_gaussian(size, maps.double()).expand_as(maps) if center_baseline else None
    found = {
        "AUC-Judd": auc_judd(maps, places),
        "AUC-Borji": auc_borji(maps, places),
        "NSS": nss(maps, places),
        "IG": information_gain(maps, places, baseline),
    }
    if others is None and len(places) > 1:
        others = [torch.cat([place for other, place in enumerate(places) if other != index]) for index in range(len(places))]
    if others is not None:
        found["sAUC"] = auc_shuffled(maps, places, others * len(places) if len(others) == 1 else others)
    return {metric: values.cpu() for metric, values in found.items()}


def _table(numbers: dict[str, Tensor], with_map: bool, places: list[Tensor] | None, center_baseline: bool) -> str:
    against = ["a reference map"] if with_map else []
    if places is not None:
        against.append(f"{sum(len(one) for one in places)} fixations")
    lines = [f"Saliency compared with {' and '.join(against)}; {len(numbers['CC'])} image(s)"]
    for metric in METRICS:
        values = numbers[metric]
        if bool(torch.isnan(values).all()):
            lines.append(f"{metric:<10}{'-':>9}   {_reason(metric, places)}")
            continue
        meaning = _MEANING[metric] + (f" ({'center prior' if center_baseline else 'uniform'})" if metric == "IG" else "")
        lines.append(f"{metric:<10}{float(values.nanmean()):>9.4f}   {meaning}")
    if len(numbers["CC"]) > 1:
        lines += ["", "image   " + "".join(f"{metric:>10}" for metric in METRICS)]
        for index in range(len(numbers["CC"])):
            cells = (float(numbers[metric][index]) for metric in METRICS)
            lines.append(f"{index + 1:<10}" + "".join(f"{'-':>10}" if math.isnan(cell) else f"{cell:>10.4f}" for cell in cells))
    return "\n".join(lines)


def _reason(metric: str, places: list[Tensor] | None) -> str:
    if metric == "sAUC" and places is not None:
        return "needs fixations of other images"
    return "needs fixations" if places is None else "no fixations, or no pixel without one"


def _draw(maps: Tensor, truth: Tensor, places: list[Tensor] | None, images: Tensor | None) -> Tensor:
    panels = []
    for title, shown in (("saliency", maps), ("compared with", truth)):
        scaled = shown.clamp(min=0) / shown.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
        drawn = color(scaled) if images is None else overlay(fit(images, maps), scaled)
        panels.append((title, drawn if places is None else mark(drawn, places)))
    return titled(panels)
