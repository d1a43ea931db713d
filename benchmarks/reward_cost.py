"""What each reward costs: time and memory for one image, with the gradient in its pixels and without, and the bytes of the weights.

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
from .common.measuring import held_bytes, seconds

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


def measured(name: str, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Seconds and bytes, without the gradient and with it."""
    with torch.random.fork_rng():
        reward = REWARDS[name]()
    reward.model.to(options.device)
    images = seeded_images(1, 512, 512).to(options.device)

    def judge(pixels: Tensor) -> Tensor:
        return reward.encode_image(pixels)[:, 0] if hasattr(reward, "encode_image") else reward(pixels, [""])

    def plain() -> Tensor:
        with torch.no_grad():
            return judge(images)

    def gradient() -> None:
        judge(images.detach().requires_grad_()).sum().backward()

    times, most = [], []
    for run in (plain, gradient):
        most.append(float(held_bytes(run, options.device)[0]))
        times.append(min(seconds(run, options.device) for _ in range(options.repeats)))
    return times, most


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", default=list(REWARDS), choices=list(REWARDS), help="names of rewards")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.device}, {options.threads} thread(s); one image of 512 x 512, best of {options.repeats}\n")
    head = ["reward", "s", "s, with gradient", "of CLIP-L's", "of CLIP-L's, with gradient", "MiB held", "MiB held, with gradient"]
    print(table(head, []), flush=True)
    unit = 0.0
    for name in dict.fromkeys([FIRST, *options.only]):
        times, most = measured(name, options)
        unit = unit or times[1]
        cells = [f"{each:.2f}" for each in (*times, *(time / unit for time in times))]
        print(f"| {' | '.join([name, *cells, *(f'{each / MIB:.0f}' for each in most)])} |", flush=True)


if __name__ == "__main__":
    main()
