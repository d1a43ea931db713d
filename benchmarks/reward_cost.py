"""What each reward and each artistic objective costs: time and memory for one image, with the gradient in its pixels and without.

    python run.py bench reward_cost [--only NAME ...] [--device cuda] [--repeats 2]

Networks have the published sizes and random weights, on which cost does not depend. An encoder's text tower is run once for each prompt and
not counted. Times are also given in those of CLIP ViT-L/14 with the gradient.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
import transformers
from sgool.guidance.objective import Context
from sgool.harness.seeded_weights import seeded_images
from sgool.rewards.aesthetic import PLACES, WIDTH, AestheticPredictor
from sgool.rewards.blip import BlipReward
from sgool.rewards.encoders import TransformersEncoder
from sgool.rewards.heads import Head
from sgool.rewards.image_reward import KIND
from sgool.rewards.naflex import NaflexEncoder, PatchPreprocessing
from sgool.rewards.preprocessing import Preprocessing
from torch import Tensor, nn

from .common.markdown import table
from .common.measuring import costs_of_images
from .wishes.terms import terms

MIB = 2**20
TOKENS = 22
TEXT = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 64, "eos_token_id": 2}
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
HUGE = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
BERT = {**BASE, "encoder_hidden_size": 1024}


class Words:
    """A tokenizer that reads the same in every prompt."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        return {"input_ids": [2]}


def prompts(_: list[str]) -> tuple[Tensor, Tensor]:
    """As ``BertPrompts``."""
    return torch.ones(1, TOKENS, dtype=torch.long), torch.ones(1, TOKENS, dtype=torch.long)


def clip(vision: dict[str, int], width: int) -> Any:
    """A CLIP at 224 pixels in patches of 14, whose text tower is too small to cost anything."""
    config = transformers.CLIPConfig(text_config=TEXT, vision_config={**vision, "image_size": 224, "patch_size": 14}, projection_dim=width)
    return transformers.CLIPModel(config)


def blip() -> BlipReward:
    """ImageReward; CycleReward differs by the GELUs of its head."""
    # Its own random weights are so small that gradients are denormal numbers, which a processor takes ten times as long for.
    vision = transformers.BlipVisionModel(transformers.BlipVisionConfig(**LARGE, image_size=224, patch_size=16, initializer_range=0.02))
    text = transformers.BlipTextModel(transformers.BlipTextConfig(**BERT), add_pooling_layer=False)
    model = nn.ModuleDict({"vision": vision, "text": text, "head": Head(768, KIND.places, KIND.gelu)})
    return BlipReward(model, prompts, KIND, "ImageReward")  # type: ignore[arg-type]


def siglip() -> TransformersEncoder:
    """SigLIP 2 base at 256 pixels."""
    config = transformers.SiglipConfig(text_config=TEXT, vision_config={**BASE, "image_size": 256, "patch_size": 16})
    return TransformersEncoder(transformers.SiglipModel(config), Words(), Preprocessing("exact", (256, 256), None))


def naflex() -> NaflexEncoder:
    """SigLIP 2 base NaFlex at its 256 patches."""
    config = transformers.Siglip2Config(text_config=TEXT, vision_config={**BASE, "num_patches": 256, "patch_size": 16})
    return NaflexEncoder(transformers.Siglip2Model(config), Words(), PatchPreprocessing("exact", (0, 0), None))


FIRST = "CLIP ViT-L/14"
REWARDS: dict[str, Callable[[], Any]] = {
    FIRST: lambda: TransformersEncoder(clip(LARGE, 768), Words(), Preprocessing()),
    "LAION aesthetic": lambda: AestheticPredictor(clip(LARGE, WIDTH), Head(WIDTH, PLACES, gelu=False), Preprocessing()),
    "HPS v2.1, PickScore": lambda: TransformersEncoder(clip(HUGE, 1024), Words(), Preprocessing()),
    "ImageReward, CycleReward": blip,
    "SigLIP 2 base, 256": siglip,
    "SigLIP 2 base NaFlex": naflex,
}


def judgment(name: str, device: str) -> Callable[[Tensor], Tensor]:
    """A number for each image, of a reward or an artistic objective."""
    objective = terms().get(name)
    if objective is not None:
        return lambda images: objective(images, Context(batch_size=len(images))).losses
    with torch.random.fork_rng():
        reward = REWARDS[name]()
    reward.model.to(device)
    if hasattr(reward, "encode_image"):
        return lambda images: reward.encode_image(images)[:, 0]  # type: ignore[no-any-return]
    return lambda images: reward(images, [""])  # type: ignore[no-any-return]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--device", default="cpu")
    names = [*REWARDS, *terms()]
    parser.add_argument("--only", nargs="+", default=names, choices=names, help="names of rewards and terms")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.device}, {options.threads} thread(s); one image of 512 x 512, best of {options.repeats}\n")
    head = ["reward or term", "s", "s, with gradient", "of CLIP-L's", "of CLIP-L's, with gradient", "MiB held", "MiB held, with gradient"]
    print(table(head, []), flush=True)
    unit = 0.0
    for name in dict.fromkeys([FIRST, *options.only]):
        costs = costs_of_images(judgment(name, options.device), seeded_images(1, 512, 512).to(options.device), options.repeats)
        unit = unit or costs[1].seconds
        cells = [f"{each:.3f}" for each in (*(cost.seconds for cost in costs), *(cost.seconds / unit for cost in costs))]
        print(f"| {' | '.join([name, *cells, *(f'{cost.bytes / MIB:.0f}' for cost in costs)])} |", flush=True)


if __name__ == "__main__":
    main()
