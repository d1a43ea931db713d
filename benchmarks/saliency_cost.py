"""What each saliency predictor costs, per image: time and peak memory, for batches, with the gradient in the pixels and without.

    python run.py bench saliency_cost [--only NAME ...] [--batches 1 8] [--device cuda]

From images of 512 x 512 to maps of that size. Weights are seeded random numbers: cost does not depend on them.
"""

from __future__ import annotations

import argparse
from typing import Literal

import torch
import transformers
from sgool.harness.seeded_weights import seeded_images
from sgool.saliency_models import registry
from sgool.saliency_models.attention import AttentionSaliency
from sgool.saliency_models.interface import SaliencyModel
from sgool.tests.saliency_models.networks import NETWORKS, seeded

from .common.markdown import table
from .common.measuring import costs_of_images

ATTENTION: dict[str, Literal["last", "rollout"]] = {"dinov2-attention": "last", "dinov2-rollout": "rollout"}


def make(name: str) -> SaliencyModel:
    """Make a predictor with seeded weights; the attention models with transformers' random ones, of DINOv2-small's size."""
    if name in NETWORKS:
        return seeded(name)
    if name in ATTENTION:
        config = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, attn_implementation="eager")
        with torch.random.fork_rng():
            vision = transformers.Dinov2Model(config).requires_grad_(False).eval()
        return AttentionSaliency(vision, name, ATTENTION[name])
    return registry.load(name)


def row(name: str, batch: int, options: argparse.Namespace) -> list[object]:
    """Milliseconds and MiB per image, of maps alone and of maps with the gradient of all pixels."""
    images = seeded_images(batch, 512, 512).to(options.device)
    costs = costs_of_images(make(name).to(options.device), images, options.repeats)
    return [name, batch, *(f"{value / batch:.0f}" for cost in costs for value in (1e3 * cost.seconds, cost.bytes / 2**20))]


def main() -> None:
    """Print the table."""
    weightless = [entry.name for entry in registry.available() if not entry.needs_weights]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", default=[*weightless, *NETWORKS, *ATTENTION], help="names of predictors")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.device}, {options.threads} thread(s); per image, best of {options.repeats}\n")
    rows = [row(name, batch, options) for name in options.only for batch in options.batches]
    print(table(["predictor", "batch", "ms, map", "MiB, map", "ms, map and gradient", "MiB, map and gradient"], rows))


if __name__ == "__main__":
    main()
