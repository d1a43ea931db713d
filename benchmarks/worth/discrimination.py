"""Can attention help at all? How well the scorer tells right images from wrong ones, with each map and region, without optimizing.

All images of a results folder that belong to one prompt are compared: the share of pairs, one right and one wrong by the judge, in
which the right one scores higher (the area under the ROC curve), averaged over prompts that have both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from sgool.guidance.regions import REGIONS
from sgool.saliency_models import registry
from torch import Tensor

from .methods import CENTER, DEFAULT, RANDOM, SEGMENTER
from .results import Results
from .segmenter import load_segmenter
from .statistics import mean_interval
from .worker import Worker, random_map

MAPS = (SEGMENTER, DEFAULT, "image-signature", "spectral-residual", CENTER, RANDOM)


def area(scores: Tensor, right: Tensor) -> float:
    """The share of pairs, one right and one wrong, in which the right one scores higher; half for equal ones. Both (n,)."""
    above = scores[right][:, None] - scores[~right][None]
    return float((above > 0).float().mean() + (above == 0).float().mean() / 2)


@torch.no_grad()
def discrimination_table(results: Results, worker: Worker) -> str:
    """Markdown: each way to score, with the 95 % bootstrap interval over prompts."""
    areas: dict[str, list[float]] = defaultdict(list)
    for prompt, images, right in _mixed(results):
        text = worker.scorer.encode_text([prompt])[0]

        def score(shown: Tensor, text: Tensor = text) -> Tensor:
            return worker.scorer.encode_image(shown) @ text

        whole = score(images)
        areas["whole image"].append(area(whole, right))
        for name in MAPS:
            map_ = _map(name, worker)(images)
            for region, show in REGIONS.items():
                salient = score(show(images, map_))
                areas[f"{name}, {region}"].append(area(salient, right))
                areas[f"{name}, {region}, and whole"].append(area(salient + whole, right))
    lines = ["| scored | right above wrong, % of pairs (95 %) | prompts |", "| --- | --- | --- |"]
    for name, values in areas.items():
        low, high = mean_interval(values)
        lines.append(f"| {name} | {100 * sum(values) / len(values):.1f} ({100 * low:.0f} to {100 * high:.0f}) | {len(values)} |")
    return "\n".join(lines)


def _mixed(results: Results) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Prompts of which there are right and wrong images, with the images, each once, and which are right."""
    by_prompt = defaultdict(list)
    for row in results.rows.values():
        by_prompt[row["prompt"]].append(row)
    for prompt, rows in by_prompt.items():
        images = torch.stack([torch.from_numpy(results.image(row)) for row in rows]).float() / 255
        images, which = torch.unique(images, dim=0, return_inverse=True)
        right = torch.zeros(len(images), dtype=torch.bool)
        right[which] = torch.tensor([bool(row["right"]) for row in rows])
        if right.any() and not right.all():
            yield prompt, images, right


def _map(name: str, worker: Worker) -> Callable[[Tensor], Tensor]:
    if name == SEGMENTER:
        return load_segmenter(worker.folder)
    if name == RANDOM:
        return lambda images: random_map(0).expand(len(images), -1, -1, -1)
    return registry.load(name)
