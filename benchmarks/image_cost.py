"""What a look at an image costs, by each saliency predictor, reward and artistic objective: time and memory, with the gradient and without.

    python run.py bench image_cost [--kinds saliency rewards art] [--only NAME ...] [--batches 1 8] [--device cuda]

From images of 512 x 512 (saliency: to maps of that size), per image. Weights are random numbers: cost does not depend on them. Where CLIP
ViT-L/14 is among what is measured, times are also given in its time with the gradient.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import transformers
from sgool.comfy_bridge.texture_models import SIDE as NETWORK_SIDE
from sgool.guidance.art.learned_texture import LearnedTexture
from sgool.guidance.art.vgg import NETWORKS as VGGS
from sgool.guidance.art.vgg import VGG
from sgool.guidance.art.view import View
from sgool.guidance.objective import Context
from sgool.harness.seeded_weights import seeded_images
from sgool.saliency_models import registry
from sgool.saliency_models.attention import AttentionSaliency
from sgool.saliency_models.interface import SaliencyModel
from sgool.tests.saliency_models.networks import NETWORKS, seeded
from torch import Tensor

from .common.live_bytes import most_bytes
from .common.markdown import table
from .common.measuring import seconds
from .common.seeded_rewards import FIRST, REWARDS, reward_of_images
from .wishes.terms import hatching, terms

ATTENTION: dict[str, Literal["last", "rollout"]] = {"dinov2-attention": "last", "dinov2-rollout": "rollout"}
KINDS = ("saliency", "rewards", "art")
Look = Callable[[Tensor], Tensor]


def predictor(name: str, device: str) -> SaliencyModel:
    """With seeded weights; the attention models with transformers' random ones, of DINOv2-small's size."""
    if name not in ATTENTION:
        return (seeded(name) if name in NETWORKS else registry.load(name)).to(device)
    config = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, attn_implementation="eager")
    with torch.random.fork_rng():
        vision = transformers.Dinov2Model(config).requires_grad_(False).eval()
    return AttentionSaliency(vision, name, ATTENTION[name]).to(device)


def term(name: str, _: str) -> Look:
    """An artistic objective of wishes/terms.py."""
    objective = terms()[name]
    return lambda images: objective(images, Context(batch_size=len(images))).losses


def network_texture(name: str, device: str) -> Look:
    """The texture of a reference by a network of guidance/art/vgg.py."""
    objective = LearnedTexture(VGG(name).trim().to(device).requires_grad_(False), hatching(NETWORK_SIDE).to(device), plain=True)
    return lambda images: objective(View(images, images[:, :1], False, NETWORK_SIDE))


def kinds() -> dict[str, dict[str, Callable[[str], Look]]]:
    """What can be measured: by kind and name, what makes it on a device."""
    weightless = [entry.name for entry in registry.available() if not entry.needs_weights]
    return {
        "saliency": {name: partial(predictor, name) for name in (*weightless, *NETWORKS, *ATTENTION)},
        "rewards": {name: partial(reward_of_images, name) for name in REWARDS},
        "art": {
            **{name: partial(term, name) for name in terms()},
            **{f"hatching by {name}": partial(network_texture, name) for name in VGGS},
        },
    }


def cost(look: Look, images: Tensor, repeats: int, *, gradient: bool) -> tuple[float, int]:
    """The best of some repeats, in seconds, and the most bytes that tensors took at a time."""

    def run() -> None:
        found = look(images.detach().requires_grad_(gradient))
        if gradient:
            found.sum().backward()

    most = most_bytes(run, images.device)  # first, as the warm-up too
    return min(seconds(run, images.device) for _ in range(repeats)), most


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--only", nargs="+", default=[], help="names of these kinds")
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")


def main(options: argparse.Namespace) -> None:
    """Print the table."""
    every = kinds()
    makers = {name: make for kind in options.kinds for name, make in every[kind].items() if not options.only or name in options.only}
    rows, unit = [], 0.0
    for name, make in makers.items():
        for batch in options.batches:
            print(f"{name}, {batch} ...", flush=True)
            look, images = make(options.device), seeded_images(batch, 512, 512).to(options.device)
            costs = [cost(look, images, options.repeats, gradient=gradient) for gradient in (False, True)]
            unit = unit or costs[1][0] * (name == FIRST)
            cells = [f"{value / batch:.0f}" for time, most in costs for value in (1e3 * time, most / 2**20)]
            rows.append([name, batch, *cells, *(f"{time / batch / unit:.3f}" if unit else "" for time, _ in costs)])
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} thread(s); per image, best of {options.repeats}\n")
    head = ["what", "images", "ms", "MiB", "ms with gradient", "MiB with gradient", f"of {FIRST}'s", "with gradient"]
    print(table(head, rows))
