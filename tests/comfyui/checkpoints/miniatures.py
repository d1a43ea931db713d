"""Miniature files of the models that the templates for checkpoints name, at those names, with weights from a seed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import comfy.ldm.models.autoencoder
import comfy.ldm.wan.vae
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.text_encoders.flux
import comfy.text_encoders.qwen_image
import comfy.text_encoders.z_image
import torch
from comfy.utils import save_torch_file
from torch import Tensor, nn

from ...rewards import open_clip
from ..families.building import CLASSES, fill, seeded
from ..families.configurations import FLUX, UNET, Z_IMAGE
from .narrow import UNETS, WIDTH

SD15 = {**UNET, **UNETS["SD15"], "channel_mult": [1, 1], "context_dim": 768, "num_heads": 8, "num_head_channels": -1}
SDXL = {
    **{**UNET, **UNETS["SDXL"], "channel_mult": [1, 1, 1], "num_res_blocks": [2, 2, 2], "transformer_depth_output": [0] * 9},
    **{"transformer_depth_middle": 1, "context_dim": 2048, "use_linear_in_transformer": True, "num_head_channels": 64},
    **{"num_classes": "sequential", "adm_in_channels": 2816},
}
SCHNELL = {
    **{**FLUX, "hidden_size": 128, "num_heads": 1, "axes_dim": [16, 56, 56], "mlp_ratio": 4.0, "context_in_dim": WIDTH},
    **{"vec_in_dim": 768, "guidance_embed": False, "image_model": "flux"},
}
TURBO = {**Z_IMAGE, "cap_feat_dim": WIDTH, "n_refiner_layers": 2, "ffn_dim_multiplier": 8 / 3, "multiple_of": 256, "image_model": "lumina2"}
QWEN = {"num_layers": 2, "in_channels": 64, "image_model": "qwen_image"}


def model(name: str, config: dict[str, Any]) -> comfy.model_patcher.ModelPatcher:
    """A MODEL of the class ``name`` among core's."""
    chosen = CLASSES[name](copy.deepcopy({**CLASSES[name].unet_config, **config}))
    chosen.set_inference_dtype(torch.float32, None)
    made = chosen.get_model({}, "", device=torch.device("cpu"))
    fill(made.diffusion_model, 1)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(made, load_device=device, offload_device=device)


def text_encoder(model_class: Any, tokenizer: Any) -> comfy.sd.CLIP:
    class Target:
        clip, params = model_class, {}

    Target.tokenizer = tokenizer
    made = comfy.sd.CLIP(Target)
    fill(made.cond_stage_model, 2)
    return made


def kl_decoder(channels: int, quantized: bool) -> dict[str, Tensor]:
    """The decoder of core's image VAEs, narrow: ComfyUI reads its width from the file."""
    sizes = {"double_z": True, "z_channels": channels, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 2, 4, 4]}
    whole = comfy.ldm.models.autoencoder.AutoencoderKL(
        ddconfig={**sizes, "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}, embed_dim=channels
    )
    fill(whole, 3)
    kept = ("decoder.", "post_quant_conv.") if quantized else ("decoder.",)
    return {name: value for name, value in whole.state_dict().items() if name.startswith(kept)}


def vae(channels: int, quantized: bool = False) -> comfy.sd.VAE:
    made = comfy.sd.VAE(sd=kl_decoder(channels, quantized), dtype=torch.float32)
    fill(made.first_stage_model, 3)
    return made


def video_vae() -> dict[str, Tensor]:
    config = {"dim": 32, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": []}
    made = comfy.ldm.wan.vae.WanVAE(**config, temperal_downsample=[False, True, True], dropout=0.0)
    fill(made, 3)
    return made.state_dict()


def few_steps(network: nn.Module) -> dict[str, Tensor]:
    """A LoRA as Qwen-Image-Lightning's file has it."""
    lora = {}
    for name, weight in network.state_dict().items():
        if name.endswith(("attn.to_q.weight", "attn.to_v.weight")):
            key = name.removesuffix(".weight")
            lora[f"{key}.lora_down.weight"] = seeded((2, weight.shape[1]), 5, 0.1)
            lora[f"{key}.lora_up.weight"] = seeded((weight.shape[0], 2), 6, 0.1)
            lora[f"{key}.alpha"] = torch.tensor(2.0)
    return lora


def write(models: Path, folder: str, name: str, state: dict[str, Tensor]) -> None:
    (models / folder).mkdir(parents=True, exist_ok=True)
    save_torch_file({key: value.contiguous().clone() for key, value in state.items()}, str(models / folder / name))


def write_checkpoint(models: Path, name: str, network: Any, clip: Any, decoder: Any) -> None:
    (models / "checkpoints").mkdir(parents=True, exist_ok=True)
    comfy.sd.save_checkpoint(str(models / "checkpoints" / name), network, clip, decoder)


def write_reward(models: Path) -> None:
    """HPS v2 as its authors distribute it, for CLIP's vocabulary."""
    torch.manual_seed(0)
    (models / "rewards").mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": open_clip.OpenCLIP(words=49408).state_dict()}, models / "rewards" / "HPS_v2.1_compressed.pt")


def sd15(models: Path) -> None:
    clip = text_encoder(comfy.sd1_clip.SD1ClipModel, comfy.sd1_clip.SD1Tokenizer)
    write_checkpoint(models, "v1-5-pruned-emaonly-fp16.safetensors", model("SD15", SD15), clip, vae(4, quantized=True))


def sdxl(models: Path, name: str = "sd_xl_base_1.0.safetensors") -> None:
    clip = text_encoder(comfy.sdxl_clip.SDXLClipModel, comfy.sdxl_clip.SDXLTokenizer)
    write_checkpoint(models, name, model("SDXL", SDXL), clip, vae(4, quantized=True))


def sdxl_lightning(models: Path) -> None:
    sdxl(models, "sdxl_lightning_4step.safetensors")


def schnell(models: Path) -> None:
    clip = text_encoder(comfy.text_encoders.flux.flux_clip(), comfy.text_encoders.flux.FluxTokenizer)
    write_checkpoint(models, "flux1-schnell-fp8.safetensors", model("FluxSchnell", SCHNELL), clip, vae(16))


def z_image(models: Path) -> None:
    write(models, "diffusion_models", "z_image_turbo_bf16.safetensors", model("ZImage", TURBO).model.diffusion_model.state_dict())
    clip = text_encoder(comfy.text_encoders.z_image.te(), comfy.text_encoders.z_image.ZImageTokenizer)
    write(models, "text_encoders", "qwen_3_4b.safetensors", clip.cond_stage_model.qwen3_4b.transformer.state_dict())
    write(models, "vae", "ae.safetensors", kl_decoder(16, quantized=False))


def qwen_image(models: Path) -> None:
    network = model("QwenImage", QWEN).model.diffusion_model
    write(models, "diffusion_models", "qwen_image_fp8_e4m3fn.safetensors", network.state_dict())
    write(models, "loras", "Qwen-Image-Lightning-4steps-V1.0.safetensors", few_steps(network))
    clip = text_encoder(comfy.text_encoders.qwen_image.te(), comfy.text_encoders.qwen_image.QwenImageTokenizer)
    write(models, "text_encoders", "qwen_2.5_vl_7b_fp8_scaled.safetensors", clip.cond_stage_model.qwen25_7b.transformer.state_dict())
    write(models, "vae", "qwen_image_vae.safetensors", video_vae())


TEMPLATES = {
    "SGOOL-SD-1.5": sd15,
    "SGOOL-SDXL": sdxl,
    "SGOOL-SDXL-Lightning": sdxl_lightning,
    "SGOOL-FLUX.1-schnell": schnell,
    "SGOOL-Z-Image-Turbo": z_image,
    "SGOOL-Qwen-Image-Lightning": qwen_image,
}
