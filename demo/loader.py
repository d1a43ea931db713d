"""The demo model as ComfyUI's own objects: a MODEL, a CLIP, a VAE and a reward's folder, from the pack's weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import comfy.clip_model
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import torch
from comfy_execution.utils import get_executing_context
from torch import nn

from ..comfy_bridge.server_events import node_that_runs, show_in_node
from .architecture import (
    BEGIN,
    END,
    GENERATOR_TEXT_CONFIG,
    IMAGE_SIDE,
    LATENT_CHANNELS,
    PAD,
    TEXT_LENGTH,
    UNET_CONFIG,
    VAE_BLOCK,
    VAE_PARAMETERS,
    Judge,
    on_blocks,
)
from .tokens import build_tokenizer
from .weights import WEIGHTS, read, read_metadata

REWARD_FOLDER = WEIGHTS / "reward"
PIXELS = 8  # of an image's side, for one of the latent's


class DemoLatent(comfy.latent_formats.LatentFormat):
    """Latents of the demo model: 16 channels, one latent pixel for 8 x 8 pixels."""

    latent_channels = LATENT_CHANNELS

    def __init__(self) -> None:
        metadata = read_metadata("vae")
        self.scale_factor = metadata["scale_factor"]
        # Least squares from latent to color, for ComfyUI's fast previews; found when the weights were exported.
        self.latent_rgb_factors = metadata["rgb_factors"]
        self.latent_rgb_factors_bias = metadata["rgb_bias"]


class DemoConfig(comfy.supported_models_base.BASE):
    """What ComfyUI's ``BaseModel`` asks of a model: an eps model with Stable Diffusion's schedule of noise."""

    unet_config: ClassVar[dict[str, Any]] = UNET_CONFIG
    unet_extra_config: ClassVar[dict[str, Any]] = {}
    latent_format = DemoLatent
    memory_usage_factor = 1.0


class DemoModel(comfy.model_base.BaseModel):
    """ComfyUI's ``BaseModel``, which says so where it is to make images of another size than it knows. It makes them all the same."""

    _told: tuple[Any, ...] = ()

    def remarks_on(self, noise: torch.Tensor) -> list[str]:
        """What is to be said of sampling from noise of this shape."""
        height, width = (PIXELS * side for side in noise.shape[-2:])
        if (height, width) == (IMAGE_SIDE, IMAGE_SIDE):
            return []
        return [
            f"The demo model is made for {IMAGE_SIDE} x {IMAGE_SIDE}, not {width} x {height}. Set width and height to {IMAGE_SIDE}: "
            "at other sizes its images do not show what the prompt says."
        ]

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Core asks for these once for each prompt, before the first step: the last moment to say something before the sampler runs."""
        context = get_executing_context()
        for remark in self.remarks_on(kwargs["noise"]) if "noise" in kwargs else ():
            asked = (context and context.prompt_id, context and context.node_id, remark)
            if context is None or asked != self._told:  # once for a node's run, not for each prompt and each of many noises
                logging.warning("SGOOL: %s", remark)
                show_in_node(remark, node_that_runs())
                self._told = asked
        conditions: dict[str, Any] = super().extra_conds(**kwargs)
        return conditions


def load_model() -> comfy.model_patcher.ModelPatcher:
    """The denoiser as a MODEL."""
    load_device = comfy.model_management.get_torch_device()
    weights = read("unet")
    config = DemoConfig(UNET_CONFIG)
    dtype = comfy.model_management.unet_dtype(model_params=sum(w.numel() for w in weights.values()))
    config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, load_device))
    model = DemoModel(config, device=comfy.model_management.unet_offload_device())
    patcher = comfy.model_patcher.CoreModelPatcher(model, load_device, comfy.model_management.unet_offload_device())
    model.diffusion_model.load_state_dict(weights, strict=True, assign=patcher.is_dynamic())
    return patcher


class _Tokenizer(comfy.sd1_clip.SDTokenizer):
    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict[str, Any] | None = None) -> None:
        super().__init__(
            tokenizer_path="",
            max_length=TEXT_LENGTH,
            pad_with_end=False,
            embedding_directory=embedding_directory,
            embedding_size=GENERATOR_TEXT_CONFIG["hidden_size"],
            embedding_key="demo",
            tokenizer_class=_FromMemory,
            pad_token=PAD,
            tokenizer_data=tokenizer_data or {},
        )


class _FromMemory:
    """Gives ComfyUI's tokenizer class, which loads from a path, the one that the pack builds from its word list."""

    @staticmethod
    def from_pretrained(_path: str, **_kwargs: Any) -> Any:
        return build_tokenizer()


class _TextModel(comfy.clip_model.CLIPTextModel):
    """ComfyUI's class with a vocabulary of the demo model's size, which it takes to be that of Stable Diffusion."""

    def __init__(self, config: dict[str, Any], dtype: torch.dtype | None, device: str, operations: Any) -> None:
        super().__init__(config, dtype, device, operations)
        self.set_input_embeddings(operations.Embedding(config["vocab_size"], config["hidden_size"], dtype=dtype, device=device))


class _TextEncoder(comfy.sd1_clip.SDClipModel):
    def __init__(self, device: str = "cpu", dtype: torch.dtype | None = None, model_options: dict[str, Any] | None = None) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            max_length=TEXT_LENGTH,
            textmodel_json_config={**GENERATOR_TEXT_CONFIG},
            model_class=_TextModel,
            special_tokens={"start": BEGIN, "end": END, "pad": PAD},
            return_projected_pooled=False,
            model_options=model_options or {},
        )


class _CLIPTokenizer(comfy.sd1_clip.SD1Tokenizer):
    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict[str, Any] | None = None) -> None:
        super().__init__(embedding_directory=embedding_directory, tokenizer_data=tokenizer_data or {}, name="demo", tokenizer=_Tokenizer)


class _CLIPModel(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, device: str = "cpu", dtype: torch.dtype | None = None, model_options: dict[str, Any] | None = None) -> None:
        super().__init__(device=device, dtype=dtype, model_options=model_options or {}, name="demo", clip_model=_TextEncoder)


def load_clip() -> comfy.sd.CLIP:
    """The generator's text encoder as a CLIP: 22 words at most, longer prompts go on in another chunk as in any CLIP."""
    weights = read("text")
    target = comfy.supported_models_base.ClipTarget(_CLIPTokenizer, _CLIPModel)
    clip = comfy.sd.CLIP(target, parameters=sum(w.numel() for w in weights.values()))
    missing, unexpected = clip.cond_stage_model.demo.transformer.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"text_projection.weight"}:
        raise RuntimeError(f"The demo model's text encoder does not fit this ComfyUI: missing {missing}, unexpected {unexpected}.")
    return clip


def load_vae() -> comfy.sd.VAE:
    """The autoencoder as a VAE."""
    vae = comfy.sd.VAE(sd=read("vae"), config={"params": VAE_PARAMETERS})
    on_blocks(vae.first_stage_model)
    vae.latent_channels = LATENT_CHANNELS
    # Convolutions run on blocks of 4 x 4 pixels: a sixteenth of the memory that core reckons for a VAE of this kind.
    vae.memory_used_decode = lambda shape, dtype: 2178 * shape[2] * shape[3] * 64 / VAE_BLOCK**2 * dtype.itemsize
    vae.memory_used_encode = lambda shape, dtype: 1767 * shape[2] * shape[3] / VAE_BLOCK**2 * dtype.itemsize
    return vae


def load_judge() -> nn.Module:
    """The judge, on the CPU in float32: it is small, and its verdict should not depend on the GPU."""
    judge = Judge()
    judge.load_state_dict({k: v.float() for k, v in read("judge").items()})
    return judge.eval().requires_grad_(False)


def reward_folder() -> Path:
    """The reward as a transformers folder, as ``Load Reward`` takes them."""
    return REWARD_FOLDER
