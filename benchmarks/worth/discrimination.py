"""Can attention help at all? How well the scorer tells right images from wrong ones, with each map and region, without optimizing.

All images of a results folder that belong to one prompt are compared: the share of pairs, one right and one wrong by the judge, in
which the right one scores higher (the area under the ROC curve), averaged over prompts that have both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from sgool.guidance.regions import REGIONS
from sgool.saliency_models import registry
from torch import Tensor

from ..common.jobs import Record, Store
from ..common.markdown import table
from ..common.statistics import mean_interval
from .methods import CENTER, DEFAULT, RANDOM, SEGMENTER
from .segmenter import load_segmenter
from .tables import image_of
from .worker import Demo, random_map

MAPS = (SEGMENTER, DEFAULT, "image-signature", "spectral-residual", CENTER, RANDOM)


def area(scores: Tensor, right: Tensor) -> float:
    """The share of pairs, one right and one wrong, in which the right one scores higher; half for equal ones. Both (n,)."""
    statistic = mannwhitneyu(scores[right].numpy(), scores[~right].numpy(), method="asymptotic").statistic
    return float(statistic / (right.sum() * (~right).sum()))


@torch.no_grad()
def discrimination_table(store: Store, rows: Sequence[Record], demo: Demo) -> str:
    """Each way to score, with the 95 % bootstrap interval over prompts."""
    areas: dict[str, list[float]] = defaultdict(list)
    for prompt, images, right in _mixed(store, rows):
        text = demo.scorer.encode_text([prompt])[0]

        def score(shown: Tensor, text: Tensor = text) -> Tensor:
            return demo.scorer.encode_image(shown) @ text

        whole = score(images)
        areas["whole image"].append(area(whole, right))
        for name in MAPS:
            map_ = _map(name, demo)(images)
            for region, show in REGIONS.items():
                salient = score(show(images, map_))
                areas[f"{name}, {region}"].append(area(salient, right))
                areas[f"{name}, {region}, and whole"].append(area(salient + whole, right))
    lines = []
    for name, values in areas.items():
        low, high = mean_interval(values)
        lines.append([name, f"{100 * np.mean(values):.1f} ({100 * low:.0f} to {100 * high:.0f})", len(values)])
    return table(["scored", "right above wrong, % of pairs (95 %)", "prompts"], lines)


def _mixed(store: Store, rows: Sequence[Record]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Prompts of which there are right and wrong images, with the images, each once, and which are right."""
    by_prompt = defaultdict(list)
    for row in rows:
        by_prompt[row["prompt"]].append(row)
    for prompt, own in by_prompt.items():
        images = torch.stack([torch.from_numpy(np.array(image_of(store, row))).movedim(-1, 0) for row in own]).float() / 255
        images, which = torch.unique(images, dim=0, return_inverse=True)
        right = torch.zeros(len(images), dtype=torch.bool)
        right[which] = torch.tensor([bool(row["right"]) for row in own])
        if right.any() and not right.all():
            yield prompt, images, right


def _map(name: str, demo: Demo) -> Callable[[Tensor], Tensor]:
    if name == SEGMENTER:
        return load_segmenter(demo.folder)
    if name == RANDOM:
        return lambda images: random_map(0).expand(len(images), -1, -1, -1)
    return registry.load(name)
