"""The figures of the model card, on captions that no training scene has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..captions import parse
from ..judging import judge_pictures
from ..scenes import held_out_prompts
from .data import Scenes
from .generator import Generator
from .judge import accuracy
from .rerender import sample
from .scorer import ScorerWithHead, retrieval


def psnr(pictures: Tensor, decoded: Tensor) -> float:
    """Peak signal to noise ratio in dB, over all pixels of all pictures in [0, 1]."""
    return -10 * math.log10(float((pictures - decoded).square().mean()))


def sampling(generator: Generator, autoencoder: nn.Module, judge: nn.Module, scale: float, cfg: float, n: int = 400) -> dict[str, object]:
    """Plain sampling of ``n`` held-out prompts: shares of pictures that the judge finds right, by what was asked."""
    prompts = held_out_prompts(n)
    pictures = sample(generator, autoencoder, prompts, scale, cfg)
    verdicts = judge_pictures(judge, pictures, prompts)
    by_count: dict[int, list[bool]] = {1: [], 2: [], 3: []}
    for prompt, verdict in zip(prompts, verdicts, strict=True):
        by_count[parse(prompt).count].append(verdict.right)
    return {
        "wholly right": sum(v.right for v in verdicts) / n,
        "objects and attributes": sum(v.objects for v in verdicts) / n,
        "count": sum(v.count for v in verdicts) / n,
        "wholly right, by objects asked for": {k: sum(v) / max(1, len(v)) for k, v in by_count.items()},
        "prompts": n,
        "prompts by objects asked for": dict(Counter(parse(p).count for p in prompts)),
    }


def scorer_on_samples(
    scorer: ScorerWithHead, generator: Generator, autoencoder: nn.Module, judge: nn.Module, scale: float, n: int = 800
) -> dict[str, float]:
    """Retrieval on sampled pictures that the judge finds right (only of those is it known what they show)."""
    prompts = held_out_prompts(n, seed=4321)
    pictures = sample(generator, autoencoder, prompts, scale, 3.0, seed=61)
    right = [i for i, v in enumerate(judge_pictures(judge, pictures, prompts)) if v.right]
    return {"retrieval": retrieval(scorer, pictures[right], [parse(prompts[i]) for i in right]), "pictures": len(right)}


def report(
    generator: Generator, autoencoder: nn.Module, scorer: ScorerWithHead, judge: nn.Module, held: Scenes, decoded: Scenes, scale: float
) -> dict[str, object]:
    """All of them."""
    everything = torch.arange(len(held))
    captions: Sequence = [scene.caption for scene in held.scenes]
    return {
        "autoencoder PSNR in dB": psnr(held.batch(everything), decoded.batch(everything)),
        "judge on scenes": accuracy(judge, held),
        "judge on decoded scenes": accuracy(judge, decoded),
        "scorer retrieval of 16, scenes": retrieval(scorer, held.batch(everything), captions),
        "scorer retrieval of 16, decoded scenes": retrieval(scorer, decoded.batch(everything), captions),
        "scorer retrieval of 16, right samples": scorer_on_samples(scorer, generator, autoencoder, judge, scale),
        **{f"plain sampling, CFG {cfg:g}": sampling(generator, autoencoder, judge, scale, cfg) for cfg in (1.0, 2.0, 3.0, 5.0)},
    }
