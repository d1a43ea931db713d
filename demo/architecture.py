"""The parts of the demo model, at the sizes that its weights files have.

The denoiser and the autoencoder are ComfyUI's own classes; the generator's text encoder has the keys of ComfyUI's
``CLIPTextModel`` and the reward is transformers' ``CLIPModel``. Only the judge is a network of this file.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .captions import COLOR_NAMES, SHAPES, SIZES

IMAGE_SIDE = 64
LATENT_CHANNELS = 16
TEXT_LENGTH = 24  # tokens, begin and end marks included
VOCABULARY = 33  # 29 words of the grammar and 4 marks
PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3

UNET_CONFIG: dict[str, Any] = {
    "image_size": 8,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "model_channels": 64,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 0, 1, 0],
    "context_dim": 96,
    "num_heads": -1,
    "num_head_channels": 32,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "use_temporal_attention": False,
    "legacy": False,
}

GENERATOR_TEXT_CONFIG: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": TEXT_LENGTH,
    "hidden_act": "quick_gelu",
    "projection_dim": 96,
    "pad_token_id": PAD,
    "bos_token_id": BEGIN,
    "eos_token_id": END,
}

# The autoencoder works on 4 x 4 blocks of pixels as channels, since convolutions at full resolution would be
# nine tenths of its cost: 64 x 64 x 3 becomes 16 x 16 x 48 before its first layer.
VAE_BLOCK = 4
VAE_CONFIG: dict[str, Any] = {
    "double_z": True,
    "z_channels": LATENT_CHANNELS,
    "resolution": IMAGE_SIDE // VAE_BLOCK,
    "in_channels": 3 * VAE_BLOCK**2,
    "out_ch": 3 * VAE_BLOCK**2,
    "ch": 64,
    "ch_mult": [1, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}

VAE_PARAMETERS: dict[str, Any] = {"ddconfig": VAE_CONFIG, "embed_dim": LATENT_CHANNELS}

REWARD_TEXT_CONFIG: dict[str, Any] = {**GENERATOR_TEXT_CONFIG}
REWARD_VISION_CONFIG: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 448,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": IMAGE_SIDE,
    "patch_size": 8,
    "hidden_act": "quick_gelu",
    "projection_dim": 96,
}


def build_unet(**kwargs: Any) -> nn.Module:
    """ComfyUI's ``UNetModel`` at the demo model's size."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    return UNetModel(**UNET_CONFIG, operations=comfy.ops.disable_weight_init, **kwargs)


def build_autoencoder() -> nn.Module:
    """ComfyUI's ``AutoencoderKL``: images (B, 3, 64, 64) in [-1, 1] to latents (B, 16, 8, 8), unscaled, and back."""
    from comfy.ldm.models.autoencoder import AutoencoderKL

    return on_blocks(AutoencoderKL(**VAE_PARAMETERS))


def on_blocks(autoencoder: nn.Module) -> nn.Module:
    """Let the encoder take, and the decoder give, images instead of blocks of pixels. Hooks, so that the weights keep
    their names and ComfyUI's ``VAE`` can build and load the model first."""
    autoencoder.encoder.register_forward_pre_hook(_cut_into_blocks)
    autoencoder.decoder.register_forward_hook(_join_blocks)
    return autoencoder


def _cut_into_blocks(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (nn.functional.pixel_unshuffle(inputs[0], VAE_BLOCK), *inputs[1:])


def _join_blocks(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return nn.functional.pixel_shuffle(output, VAE_BLOCK)


def build_generator_text_encoder() -> nn.Module:
    """The text encoder that the denoiser listens to, for training; at run time ComfyUI's own class has these weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**GENERATOR_TEXT_CONFIG))


def build_reward() -> nn.Module:
    """The reward: transformers' ``CLIPModel``, trained apart from the generator."""
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig(text_config=REWARD_TEXT_CONFIG, vision_config=REWARD_VISION_CONFIG, projection_dim=96))


def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """Give weights to ComfyUI's layers, which leave theirs uninitialized, as ``torch.nn`` would; last layers of residual
    branches start at zero, as is usual for this architecture (``zero_module`` in openai/guided-diffusion)."""
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            if name.endswith(("out_layers.3", "proj_out", "out.2")):
                nn.init.zeros_(layer.weight)
            else:
                nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Judge(nn.Module):
    """An object detector for the world of ``captions.py``: one guess per 4 x 4 pixels.

    Input (B, 3, 64, 64) in [0, 1]; output (B, C, 16, 16) logits, channels split by :data:`JUDGE_CHANNELS`.
    """

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3 * VAE_BLOCK**2, 2 * width, 1), nn.GELU(), nn.Conv2d(2 * width, width, 3, padding=1))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=d, dilation=d), nn.GELU(), nn.Conv2d(width, width, 1))
            for d in (1, 2, 1, 4, 2, 1)
        )
        self.head = nn.Sequential(nn.GroupNorm(8, width), nn.Conv2d(width, 2 * width, 1), nn.GELU())
        self.out = nn.Conv2d(2 * width, sum(JUDGE_CHANNELS.values()), 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(nn.functional.pixel_unshuffle(images * 2 - 1, VAE_BLOCK))
        for block in self.blocks:
            x = x + block(x)
        return self.out(self.head(x))


JUDGE_CHANNELS = {"center": 1, "color": len(COLOR_NAMES), "shape": len(SHAPES), "size": len(SIZES), "offset": 2}
