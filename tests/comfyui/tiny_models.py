"""Models of ComfyUI's own classes, too small to mean anything, with weights from a seed."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import comfy.controlnet
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models_base
import torch
from comfy.cldm.cldm import ControlNet as ControlNetModel
from torch import Tensor, nn

CONTEXT = 16
MODEL_TYPES = {
    "eps": comfy.model_base.ModelType.EPS,
    "v": comfy.model_base.ModelType.V_PREDICTION,
    "flow": comfy.model_base.ModelType.FLOW,
}
UNET: dict[str, Any] = {
    "image_size": 8,
    "in_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "context_dim": CONTEXT,
    "num_heads": -1,
    "num_head_channels": 8,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "legacy": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
}
DEPTHS: dict[str, Any] = {"transformer_depth": [1, 0], "transformer_depth_output": [1, 1, 0, 0], "transformer_depth_middle": -1}


class TinyConfig(comfy.supported_models_base.BASE):
    """What core's model configurations are, for the tiny UNet."""

    latent_format = comfy.latent_formats.SD15
    memory_usage_factor = 1.0
    unet_extra_config = {}  # noqa: RUF012  (core's own attribute; its default asks for heads of 64 channels)

    def __init__(self, sampling_settings: dict[str, Any] | None = None) -> None:
        super().__init__(copy.deepcopy({**UNET, **DEPTHS, "out_channels": 4, "dtype": torch.float32}))  # core empties the lists
        self.sampling_settings = sampling_settings or {}


def fill(module: nn.Module, seed: int, gain: float = 1.0) -> None:
    """Give every parameter values from a seed, of a size that keeps signals alive. Core leaves its layers uninitialized."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            values = values * (gain / math.sqrt(parameter[0].numel()))
        else:
            values = values * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        parameter.data = values.to(parameter.dtype)


def tiny_model(kind: str = "eps", seed: int = 0) -> comfy.model_patcher.ModelPatcher:
    """A MODEL with a UNet of 4 latent channels and a context of ``(tokens, CONTEXT)``; ``kind`` is "eps", "v" or "flow"."""
    settings = {"shift": 3.0} if kind == "flow" else {}
    model = comfy.model_base.BaseModel(TinyConfig(settings), model_type=MODEL_TYPES[kind], device=torch.device("cpu"))
    fill(model.diffusion_model, seed)
    model.diffusion_model.out[-1].weight.data.mul_(0.3)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=device)


def conditioning(seed: int = 1, tokens: int = 5) -> list[Any]:
    """A CONDITIONING for :func:`tiny_model`."""
    return [[torch.randn(1, tokens, CONTEXT, generator=torch.Generator().manual_seed(seed)), {}]]


def tiny_vae(latent_channels: int = 4, seed: int = 2) -> comfy.sd.VAE:
    """A VAE of SD's architecture, with an upscaling of 2."""
    widths = {"double_z": True, "z_channels": latent_channels, "resolution": 16, "in_channels": 3, "out_ch": 3, "ch": 32}
    config = {**widths, "ch_mult": [1, 1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}
    logging.disable(logging.WARNING)  # core names every missing weight; we fill them all
    try:
        vae = comfy.sd.VAE(sd={}, config={"params": {"ddconfig": config, "embed_dim": latent_channels}}, dtype=torch.float32)
    finally:
        logging.disable(logging.NOTSET)
    fill(vae.first_stage_model, seed)
    vae.upscale_ratio = vae.downscale_ratio = 2
    vae.latent_channels = latent_channels
    return vae


def tiny_controlnet(seed: int = 3) -> comfy.controlnet.ControlNet:
    """A ControlNet for :func:`tiny_model`, with a hint 8 times the size of the latent."""
    config = copy.deepcopy({k: v for k, v in {**UNET, **DEPTHS}.items() if k != "transformer_depth_output"})
    network = ControlNetModel(**config, hint_channels=3, dtype=torch.float32, device=torch.device("cpu"), operations=comfy.ops.manual_cast)
    network.eval().requires_grad_(False)
    fill(network, seed)
    return comfy.controlnet.ControlNet(network, load_device=comfy.model_management.get_torch_device())


def low_rank(model: comfy.model_patcher.ModelPatcher, seed: int = 4, rank: int = 2) -> dict[str, Tensor]:
    """A LoRA file's contents for the attention of ``model``'s UNet, as ``comfy.sd.load_lora_for_models`` takes it."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, weight in model.model.diffusion_model.state_dict().items():
        if not name.endswith(("to_q.weight", "to_v.weight")):
            continue
        key = "diffusion_model." + name.removesuffix(".weight")
        state[f"{key}.lora_down.weight"] = torch.randn(rank, weight.shape[1], generator=generator) * 0.3
        state[f"{key}.lora_up.weight"] = torch.randn(weight.shape[0], rank, generator=generator) * 0.3
    return state
