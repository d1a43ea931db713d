"""From the training folder to the files that the pack ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..architecture import IMAGE_SIDE
from ..tokens import build_tokenizer
from ..weights import WEIGHTS, write
from .parts import DemoParts
from .reward import MEAN, STD, RewardWithHead

TEXT_PREFIX = "text_model."  # ComfyUI's CLIPTextModel keeps its layers below this name, transformers 5 does not


def rgb_factors(latents: torch.Tensor, images: torch.Tensor) -> tuple[list[list[float]], list[float]]:
    """The linear map from scaled latents (n, c, h, w) to colors in [-1, 1] that is best for these images."""
    small = nn.functional.avg_pool2d(images, 8).permute(0, 2, 3, 1).reshape(-1, 3) * 2 - 1
    flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    solution = torch.linalg.lstsq(torch.cat([flat, torch.ones(len(flat), 1)], dim=1), small).solution
    return solution[:-1].tolist(), solution[-1].tolist()


def export(parts: DemoParts, latents: np.ndarray) -> None:
    """Write every weights file, the reward's folder and its tokenizer. ``latents`` are unscaled, some of those trained on."""
    painter = parts.painter
    write("unet", painter.generator.unet.state_dict())
    text = {k if k.startswith(TEXT_PREFIX) else TEXT_PREFIX + k: v for k, v in painter.generator.text.state_dict().items()}
    write("text", {k: v for k, v in text.items() if not k.endswith("position_ids")})
    sample = torch.from_numpy(latents[:500]).float() * painter.scale
    with torch.no_grad():
        factors, bias = rgb_factors(sample, painter.decode(sample))
    write("vae", painter.autoencoder.state_dict(), scale_factor=painter.scale, rgb_factors=factors, rgb_bias=bias)
    write("judge", parts.judge.state_dict())
    export_reward(parts.reward)


def export_reward(reward: RewardWithHead, folder: Path = WEIGHTS / "reward") -> None:
    """The reward as a transformers folder: weights, configuration, tokenizer and preprocessing."""
    from transformers import CLIPImageProcessor

    reward.clip.half().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    config = folder / "tokenizer_config.json"
    # transformers 5 writes a name for the class that 4 does not know; both know this one.
    settings = {**json.loads(config.read_text()), "tokenizer_class": "PreTrainedTokenizerFast"}
    config.write_text(json.dumps(settings, indent=2) + "\n")
    side = {"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    CLIPImageProcessor(size={"shortest_edge": IMAGE_SIDE}, crop_size=side, image_mean=[MEAN] * 3, image_std=[STD] * 3).save_pretrained(
        folder
    )
