"""The figures of docs/demo-model.md, on captions that no training scene has."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..captions import parse
from ..judging import judge_images
from ..scenes import held_out_prompts
from .data import Scenes
from .judge import accuracy
from .parts import DemoParts
from .rerender import sample
from .reward import retrieval


def psnr(images: Tensor, decoded: Tensor) -> float:
    """Peak signal to noise ratio in dB, over all pixels of all images in [0, 1]."""
    return -10 * math.log10(float((images - decoded).square().mean()))


def sampling(parts: DemoParts, cfg: float, n: int = 400) -> dict[str, object]:
    """Plain sampling of ``n`` held-out prompts: shares of images that the judge finds right, by what was asked."""
    prompts = held_out_prompts(n)
    verdicts = judge_images(parts.judge, sample(parts.painter, prompts, cfg=cfg), prompts)
    by_count: dict[int, list[bool]] = {1: [], 2: [], 3: []}
    for prompt, verdict in zip(prompts, verdicts, strict=True):
        by_count[parse(prompt).count].append(verdict.right)
    return {
        "wholly right": sum(v.right for v in verdicts) / n,
        "objects and attributes": sum(v.objects for v in verdicts) / n,
        "count": sum(v.count for v in verdicts) / n,
        "wholly right, by objects asked for": {k: sum(v) / max(1, len(v)) for k, v in by_count.items()},
        "prompts, by objects asked for": {k: len(v) for k, v in by_count.items()},
    }


def reward_on_samples(parts: DemoParts, n: int = 800) -> dict[str, float]:
    """Retrieval on sampled images that the judge finds right (only of those is it known what they show)."""
    prompts = held_out_prompts(n, seed=4321)
    images = sample(parts.painter, prompts, cfg=3.0, seed=61)
    right = [i for i, v in enumerate(judge_images(parts.judge, images, prompts)) if v.right]
    captions = [parse(prompts[i]) for i in right]
    return {
        "retrieval": retrieval(parts.reward, images[right], captions),
        "retrieval, attributes only": retrieval(parts.reward, images[right], captions, attributes_only=True),
        "images": len(right),
    }


def report(parts: DemoParts, held: Scenes, decoded: Scenes) -> dict[str, object]:
    """All figures; ``held`` are scenes with held-out captions, ``decoded`` the same after the autoencoder."""
    everything = torch.arange(len(held))
    captions = [scene.caption for scene in held.scenes]
    originals, reconstructions = held.batch(everything), decoded.batch(everything)
    return {
        "autoencoder PSNR in dB": psnr(originals, reconstructions),
        "judge on scenes": accuracy(parts.judge, held),
        "judge on decoded scenes": accuracy(parts.judge, decoded),
        "reward retrieval of 16, scenes": retrieval(parts.reward, originals, captions),
        "reward retrieval of 16, decoded scenes": retrieval(parts.reward, reconstructions, captions),
        "reward retrieval of 16, right samples": reward_on_samples(parts),
        **{f"plain sampling, CFG {cfg:g}": sampling(parts, cfg) for cfg in (1.0, 2.0, 3.0, 5.0)},
    }
