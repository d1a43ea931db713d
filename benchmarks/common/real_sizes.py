"""The networks of well-known models at their real sizes, with weights from a seed: what costs time and memory does not depend on them."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from sgool.tests.comfyui.families import building
from sgool.tests.comfyui.families.configurations import FAMILIES, FLUX, FLUX_DEEP, REAL_UNET, SDXL_UNET, UNET, Z_IMAGE, Family
from torch import Tensor

SD3_CONTEXT: dict[str, Any] = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 1536}}
SD3_POSITIONS: dict[str, Any] = {"pos_embed_max_size": 384, "num_patches": 384 * 384, "x_block_self_attn_layers": list(range(13))}
FLUX_WIDTHS: dict[str, Any] = {"hidden_size": 3072, "num_heads": 24, "axes_dim": [16, 56, 56], "mlp_ratio": 4.0}
FLUX_WIDTHS |= {"context_in_dim": 4096, "vec_in_dim": 768}
Z_WIDTHS: dict[str, Any] = {"dim": 3840, "n_heads": 30, "n_kv_heads": 30, "cap_feat_dim": 2560, "n_layers": 30, "n_refiner_layers": 2}
Z_WIDTHS |= {"multiple_of": 256, "ffn_dim_multiplier": 8 / 3, "axes_lens": [1536, 512, 512], "pad_tokens_multiple": 32}

# The class in ``comfy.supported_models``; what core reads from its published checkpoint; its usual prompt and latent.
REAL: dict[str, tuple[str, Family]] = {
    "SD 1.5": ("SD15", Family({**UNET, **REAL_UNET, "model_channels": 320}, context=(77, 768), size=(64, 64))),
    "SDXL": (
        "SDXL",
        Family(
            {**UNET, **SDXL_UNET, "model_channels": 320, "num_classes": "sequential", "adm_in_channels": 2816, "context_dim": 2048},
            context=(77, 2048),
            options={"pooled_output": (1, 1280)},
            size=(128, 128),
        ),
    ),
    "SD 3.5 medium": (
        "SD3",
        Family(
            {**FAMILIES["SD3"].config, **SD3_POSITIONS, "depth": 24, "adm_in_channels": 2048, "context_embedder_config": SD3_CONTEXT},
            context=(154, 4096),
            options={"pooled_output": (1, 2048)},
            size=(128, 128),
        ),
    ),
    "Z-Image": ("ZImage", Family({**Z_IMAGE, **Z_WIDTHS}, context=(64, 2560), size=(128, 128))),
    "Flux": (
        "Flux",
        Family({**FLUX, **FLUX_DEEP, **FLUX_WIDTHS}, context=(256, 4096), options={"pooled_output": (1, 768)}, size=(128, 128)),
    ),
}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}


def family_of(title: str, *, small: bool, latent: int = 0) -> Family:
    """The named size, or the narrowest network of its class; ``latent``: another height and width."""
    name, real = REAL[title]
    family = FAMILIES[name] if small else real
    return replace(family, size=(latent, latent)) if latent else family


def real_model(title: str, precision: str, device: torch.device, *, small: bool = False, offload: bool = False) -> Any:
    """A MODEL of the named size, its weights in ``precision``; those of "fp8" are computed with in bfloat16, as core does.

    Args:
        device: where the weights are made and are at home; "meta" for none of them.
        offload: they are at home on the CPU instead.
    """
    name, _ = REAL[title]
    cls, config = building.CLASSES[name], family_of(title, small=small).config
    cast = torch.bfloat16 if precision == "fp8" else None
    logging.disable(logging.WARNING)
    try:
        # What the class says of its real size goes first, unless it is to be small.
        model_config = cls({**cls.unet_config, **copy.deepcopy(config)} if small else {**copy.deepcopy(config), **cls.unet_config})
        if small:
            model_config.unet_config.update({k: v for k, v in config.items() if k in cls.unet_extra_config})
        model_config.set_inference_dtype(DTYPES[precision], cast)
        model = model_config.get_model({}, "", device=torch.device("cpu") if offload else device)
    finally:
        logging.disable(logging.NOTSET)
    model.diffusion_model.eval()
    if device.type != "meta":
        building.fill(model.diffusion_model, 0, device)
    own = device if device.type == "cuda" else comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, load_device=own, offload_device=torch.device("cpu") if offload else own)


def as_float32(model: Any) -> None:
    """Turn a MODEL's weights into float32, in place: the reference for the same weights."""
    model.model.diffusion_model.float()
    model.model.diffusion_model.dtype, model.model.manual_cast_dtype = torch.float32, None


def noise_for(title: str, model: Any, batch: int, *, small: bool = False, latent: int = 0) -> Tensor:
    """Noise of the size's latent."""
    shape = (batch, model.model.latent_format.latent_channels, *family_of(title, small=small, latent=latent).size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def real_vae(channels: int, precision: str, *, small: bool = False) -> comfy.sd.VAE:
    """A VAE of SD's architecture (83 M weights), for latents of so many channels."""
    levels = [1, 1] if small else [1, 2, 4, 4]
    config = {"double_z": True, "z_channels": channels, "resolution": 256, "in_channels": 3, "out_ch": 3, "attn_resolutions": []}
    config |= {"ch": 32 if small else 128, "ch_mult": levels, "num_res_blocks": 1 if small else 2, "dropout": 0.0}
    logging.disable(logging.WARNING)  # core names every missing weight
    try:
        params = {"ddconfig": config, "embed_dim": channels}
        vae = comfy.sd.VAE(sd={}, config={"params": params}, dtype=DTYPES[precision])
    finally:
        logging.disable(logging.NOTSET)
    vae.latent_channels = channels
    vae.upscale_ratio = vae.downscale_ratio = 2 ** (len(levels) - 1)
    building.fill(vae.first_stage_model, 0, next(vae.first_stage_model.parameters()).device)
    return vae
