"""ComfyUI's own CLIP and CLIP_VISION classes with towers of a few thousand weights from a seed."""

from __future__ import annotations

from typing import Any

import comfy.clip_vision
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import torch

from .tiny_models import fill

TOWER = {"num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48, "max_position_embeddings": 77, "hidden_act": "gelu"}


class _Target:
    def __init__(self, clip: Any, tokenizer: Any) -> None:
        self.clip, self.tokenizer, self.params = clip, tokenizer, {}


def tiny_clip(kind: str = "sdxl", width: int = 32, seed: int = 0) -> comfy.sd.CLIP:
    """A CLIP as core builds it for SDXL ("sdxl", with CLIP-G and CLIP-L), its refiner ("refiner", CLIP-G) or SD 1 ("sd1", CLIP-L)."""
    config = {**TOWER, "hidden_size": width, "eos_token_id": 49407}
    target = {
        "sdxl": _Target(comfy.sdxl_clip.SDXLClipModel, comfy.sdxl_clip.SDXLTokenizer),
        "refiner": _Target(comfy.sdxl_clip.SDXLRefinerClipModel, comfy.sdxl_clip.SDXLTokenizer),
        "sd1": _Target(comfy.sd1_clip.SD1ClipModel, comfy.sd1_clip.SD1Tokenizer),
    }[kind]
    options = {"clip_g_model_config": config, "clip_l_model_config": {**config, "hidden_act": "quick_gelu"}}
    clip = comfy.sd.CLIP(target, model_options=options)
    fill(clip.cond_stage_model, seed)
    return clip


def tiny_clip_vision(width: int = 32, seed: int = 1, image_size: int = 32) -> comfy.clip_vision.ClipVisionModel:
    """A CLIP_VISION that projects to ``width`` numbers."""
    config = {**TOWER, "hidden_size": 40, "image_size": image_size, "patch_size": 8, "num_channels": 3, "projection_dim": width}
    model = comfy.clip_vision.ClipVisionModel({**config, "model_type": "clip_vision_model"})
    fill(model.model, seed)
    return model


def inference_tensors(module: torch.nn.Module) -> None:
    """Make the weights what core's loaders leave behind: inference tensors."""
    with torch.inference_mode():
        for each in module.modules():
            for name, parameter in list(each._parameters.items()):
                if parameter is not None:
                    each._parameters[name] = torch.nn.Parameter(parameter.clone(), requires_grad=False)
