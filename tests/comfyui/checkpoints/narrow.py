"""Networks whose sizes ComfyUI does not read from their files, made narrow, so that miniature files stand for them.

In this process a test sets each of ``CHANGES``. As a file in ``custom_nodes`` it sets them in a server, whose own detection, loaders and
tokenizers then load the files. Where that detection goes by a width, it is told the miniature's.
"""

from __future__ import annotations

import functools
from typing import Any

import comfy.clip_model
import comfy.ldm.qwen_image.model
import comfy.model_detection
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.text_encoders.llama
import torch

WIDTH, Z_IMAGE, REAL_Z_IMAGE = 64, 256, 3840
LLAMA = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4}
TEXT_ENCODERS: dict[str, dict[str, int]] = {
    "CLIPTextModel": {"num_hidden_layers": 3, "intermediate_size": WIDTH},  # as wide as they are: UNets are known by it
    "T5": {"d_model": WIDTH, "d_ff": WIDTH, "num_heads": 1, "num_layers": 2},
    "Qwen3_4B": LLAMA,
    "Qwen25_7BVLI": LLAMA,
}

UNETS: dict[str, dict[str, Any]] = {  # what a class of models is known by
    "SD15": {"model_channels": 32},
    "SDXL": {"model_channels": 64, "transformer_depth": [0, 0, 1, 1, 1, 1]},
    "ZImage": {"dim": Z_IMAGE},
}


def _text_encoder(core: Any) -> Any:
    def __init__(self: Any, *args: Any, model_class: Any = comfy.clip_model.CLIPTextModel, **kwargs: Any) -> None:
        narrow = TEXT_ENCODERS[model_class.__name__]
        core(self, *args, model_class=lambda config, *rest: model_class({**config, **narrow}, *rest), **kwargs)

    return __init__


def _kind_of_text_encoder(core: Any) -> Any:
    def detect(state: dict[str, Any]) -> Any:
        narrow = state.get("model.layers.0.post_attention_layernorm.weight", torch.empty(0)).shape[0] == WIDTH
        return comfy.sd.TEModel.QWEN3_4B if narrow and "model.layers.0.self_attn.q_norm.weight" in state else core(state)

    return detect


def _kind_of_model(core: Any) -> Any:
    def detect(state: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> Any:
        name = f"{prefix}cap_embedder.1.weight"
        if name not in state or state[name].shape[0] != Z_IMAGE:
            return core(state, prefix, *args, **kwargs)
        wide = torch.empty(REAL_Z_IMAGE, state[name].shape[1], device="meta")
        return {**core({**state, name: wide}, prefix, *args, **kwargs), "dim": Z_IMAGE, "n_heads": 2, "n_kv_heads": 2}

    return detect


class _NoEyes(torch.nn.Module):
    """In the place of the text encoder's image tower, which prompts do not use."""

    def __init__(self, **_: Any) -> None:
        super().__init__()


_models = {each.__name__: each for each in comfy.supported_models.models}
_qwen_image = comfy.ldm.qwen_image.model.QwenImageTransformer2DModel
CHANGES: list[tuple[Any, str, Any]] = [
    (comfy.sd1_clip.SDClipModel, "__init__", _text_encoder(comfy.sd1_clip.SDClipModel.__init__)),
    (comfy.text_encoders.llama.qwen_vl, "Qwen2VLVisionTransformer", _NoEyes),
    (comfy.sd, "detect_te_model", _kind_of_text_encoder(comfy.sd.detect_te_model)),
    (
        _qwen_image,
        "__init__",
        functools.partialmethod(_qwen_image.__init__, num_attention_heads=1, joint_attention_dim=WIDTH),
    ),
    (comfy.model_detection, "detect_unet_config", _kind_of_model(comfy.model_detection.detect_unet_config)),
    *((_models[name], "unet_config", {**_models[name].unet_config, **changes}) for name, changes in UNETS.items()),
]

NODE_CLASS_MAPPINGS: dict[str, Any] = {}
if __name__.startswith(("custom_nodes", "/")) or "custom_nodes" in __name__:
    for _where, _name, _value in CHANGES:
        setattr(_where, _name, _value)
