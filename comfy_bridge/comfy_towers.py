"""ComfyUI's own CLIP and CLIP_VISION as the two towers of one encoder, where they belong together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.clip_model
import comfy.ldm.modules.attention
import comfy.sd1_clip
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..latent_optimization.autograd_mode import gradients
from ..rewards.preprocessing import Preprocessing

INSTEAD = "Use SDXL's CLIP with CLIP-ViT-bigG-14, or Load Reward with a whole model."


class ComfyTowers:
    """The text tower of a CLIP and the image tower of a CLIP_VISION. Both have to be on their devices when they are asked.

    Args:
        clip: ComfyUI's CLIP.
        tower: its text tower that projects into the common space, see :func:`match_towers`.
        tower_name: the name of the tower's tokens, such as "g".
        clip_vision: ComfyUI's CLIP_VISION.
    """

    def __init__(self, clip: Any, tower: Any, tower_name: str, clip_vision: Any) -> None:
        self.clip, self.tower, self.tower_name, self.clip_vision = clip, tower, tower_name, clip_vision
        self.name = f"CLIP ({tower_name}) with CLIP vision"
        size = (int(clip_vision.image_size),) * 2
        mean, std = tuple(clip_vision.image_mean), tuple(clip_vision.image_std)
        self.preprocessing = Preprocessing("shortest", size, size, mean=mean, std=std, program="comfyui")

    @property
    def image_size(self) -> int:
        """The side of the images the image tower takes, in pixels."""
        return int(self.clip_vision.image_size)

    def encode_text(self, prompts: list[str]) -> Tensor:
        """``(n, d)`` unit vectors, float32. Of prompts longer tha one chunk of tokens the rest is left out, with a warning."""
        model = self.clip.cond_stage_model
        model.reset_clip_options()
        model.set_clip_options({"execution_device": self.clip.patcher.load_device})
        try:
            return torch.cat([self._encode(prompt) for prompt in prompts])
        finally:
            model.reset_clip_options()

    def _encode(self, prompt: str) -> Tensor:
        chunks = self.clip.tokenize(prompt, disable_weights=True)[self.tower_name]
        if len(chunks) > 1:
            special = set(self.tower.special_tokens.values())
            tokenizer = getattr(getattr(self.clip.tokenizer, f"clip_{self.tower_name}", None), "tokenizer", None)
            ids = [token for chunk in chunks[1:] for token, _ in chunk if token not in special]
            words = tokenizer.decode(ids) if tokenizer is not None else f"the last {len(ids)} tokens"
            logging.warning("%s reads the beginning of a prompt only; these words are left out: %s", self.name, words)
        _, pooled = self.tower.encode_token_weights(chunks[:1])[:2]
        return functional.normalize(pooled.float(), dim=-1)

    def embed(self, pixel_values: Tensor) -> Tensor:
        """``(B, d)`` unit vectors, float32, for preprocessed images ``(B, 3, h, w)``; differentiable.

        The same numbers as ComfyUI's own, whose layers add in place to what backward needs.
        """
        vision = self.clip_vision.model.vision_model
        x = vision.pre_layrnorm(vision.embeddings(pixel_values))
        for layer in vision.encoder.layers:
            x = run_layer(clip_layer, layer, x)
        pooled = vision.post_layernorm(x[:, 0])
        return functional.normalize(self.clip_vision.model.visual_projection(pooled).float(), dim=-1)


def run_layer(forward: Callable[[Any, Tensor], Tensor], layer: Any, x: Tensor) -> Tensor:
    """``forward(layer, x)``, checkpointed where there is a gradient: layers that cast their weights would keep the cast weights as well."""
    return checkpoint(_with_gradients, forward, layer, x, use_reentrant=False) if x.requires_grad else forward(layer, x)


def _with_gradients(forward: Callable[[Any, Tensor], Tensor], layer: Any, x: Tensor) -> Tensor:
    # Backward calls this again, perhaps on another thread: it may not count on anything that surrounds it.
    with gradients():
        return forward(layer, x)


def clip_layer(layer: Any, x: Tensor) -> Tensor:
    """One layer of ComfyUI's CLIP, without writing in place to what backward needs."""
    # PyTorch's attention, whichever the user chose for sampling: not all of those have a backward.
    x = x + layer.self_attn(layer.layer_norm1(x), None, comfy.ldm.modules.attention.attention_pytorch)
    return x + layer.mlp(layer.layer_norm2(x))


def match_towers(clip: Any, clip_vision: Any) -> tuple[Any, str]:
    """The text tower of ``clip`` that projects into the space of ``clip_vision``, and its name.

    Raises:
        ValueError: if there is none.
    """
    image_width = _image_width(clip_vision)
    towers = _text_towers(clip)
    if not towers:
        raise ValueError(f"This CLIP has no CLIP text tower ({type(clip.cond_stage_model).__name__}). {INSTEAD}")
    projecting = {name: tower for name, tower in towers.items() if _has_projection(name, tower, towers)}
    if not projecting:
        names = ", ".join(f"clip_{name}" for name in towers)
        raise ValueError(
            f"The text tower of this CLIP ({names}) has no text projection: ComfyUI loads CLIP-L without it, so its prompts and images "
            f"are not in one space. {INSTEAD}"
        )
    for name, tower in projecting.items():
        if tower.transformer.text_projection.out_features == image_width:
            return tower, name
    widths = ", ".join(f"clip_{name}: {tower.transformer.text_projection.out_features}" for name, tower in projecting.items())
    raise ValueError(
        f"The CLIP gives vectors of another size than the CLIP_VISION ({widths}; CLIP_VISION: {image_width}): they are of "
        f"different models. {INSTEAD}"
    )


def _image_width(clip_vision: Any) -> int:
    model = getattr(clip_vision, "model", None)
    projection: Any = getattr(model, "visual_projection", None)
    if not isinstance(model, comfy.clip_model.CLIPVisionModelProjection) or not isinstance(projection, nn.Module):
        kind = getattr(clip_vision, "model_type", type(clip_vision).__name__)
        raise ValueError(f"This CLIP_VISION ({kind}) has no projection into a space that it shares with a text tower. {INSTEAD}")
    out_features: Any = projection.out_features
    return int(out_features)


def _text_towers(clip: Any) -> dict[str, Any]:
    found = {}
    for name, module in clip.cond_stage_model.named_children():
        if isinstance(module, comfy.sd1_clip.SDClipModel) and isinstance(module.transformer, comfy.clip_model.CLIPTextModel):
            found[name.removeprefix("clip_")] = module
    return found


def _has_projection(name: str, tower: Any, towers: dict[str, Any]) -> bool:
    """Whether core loads and uses the tower's projection. SDXL's CLIP-L is made with one, but its checkpoints hold none."""
    if not tower.options_default[2] or (name == "l" and "g" in towers):
        return False
    weight = tower.transformer.text_projection.weight
    if weight is None or weight.is_meta:
        return weight is not None
    identity = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
    return bool(torch.isfinite(weight).all()) and bool(weight.any()) and not torch.equal(weight, identity)
