"""Rewards of the published sizes with random weights, on which cost does not depend, for ``bench image_cost``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from sgool.rewards.aesthetic import PLACES, WIDTH, AestheticPredictor
from sgool.rewards.blip import BlipReward
from sgool.rewards.encoders import TransformersEncoder
from sgool.rewards.heads import Head
from sgool.rewards.image_reward import KIND
from sgool.rewards.naflex import NaflexEncoder, PatchPreprocessing
from sgool.rewards.preprocessing import Preprocessing
from torch import Tensor, nn

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


FIRST = "CLIP ViT-L/14"  # whose time is the unit
REWARDS: dict[str, Callable[[], Any]] = {
    FIRST: lambda: TransformersEncoder(clip(LARGE, 768), Words(), Preprocessing()),
    "LAION aesthetic": lambda: AestheticPredictor(clip(LARGE, WIDTH), Head(WIDTH, PLACES, gelu=False), Preprocessing()),
    "HPS v2.1, PickScore": lambda: TransformersEncoder(clip(HUGE, 1024), Words(), Preprocessing()),
    "ImageReward, CycleReward": blip,
    "SigLIP 2 base, 256": siglip,
    "SigLIP 2 base NaFlex": naflex,
}


def reward_of_images(name: str, device: str) -> Callable[[Tensor], Tensor]:
    """A number for each image. An encoder's text tower is run once for each prompt, and is not in it."""
    with torch.random.fork_rng():
        reward = REWARDS[name]()
    reward.model.to(device)
    if hasattr(reward, "encode_image"):
        return lambda images: reward.encode_image(images)[:, 0]
    return lambda images: reward(images, [""] * len(images))
