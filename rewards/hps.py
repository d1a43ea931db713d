"""HPS v2: what people prefer, the cosine of a CLIP ViT-H/14 that was trained on their choices (arXiv 2306.09341).

It is published as one file of open_clip's. open_clip and transformers hold the same numbers: names differ, three matrices are one, and two
projections are transposed. Preprocessing: ``ResizeMaxSize`` of github.com/tgxs002/HPSv2, hpsv2/src/open_clip/transform.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..schema.weights import MismatchError, build_with_weights, read_state_dict, weight_shapes
from .encoder_files import load_tokenizer
from .encoders import TransformersEncoder
from .entries import Entry
from .preprocessing import Preprocessing

VISION_HEAD, TEXT_HEAD = 80, 64
"""Channels of an attention head, which a file does not tell: ViT-H-14.json among open_clip's configurations."""

OUTER = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
TRANSPOSED = ("text_projection", "visual.proj")
MODULES = {
    "ln_final": "text_model.final_layer_norm",
    "visual.ln_pre": "vision_model.pre_layrnorm",  # transformers spells it so
    "visual.ln_post": "vision_model.post_layernorm",
}
TOWERS = {"transformer.resblocks.": "text_model.encoder.layers.", "visual.transformer.resblocks.": "vision_model.encoder.layers."}
IN_A_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
MERGED = "attn.in_proj_"


def load_hps(path: Path, dtype: torch.dtype = torch.float32, *, tokenizer: Path) -> TransformersEncoder:
    """Load a CLIP ViT-H/14 that open_clip saved, on the CPU.

    Args:
        path: the ``.pt`` or ``.safetensors`` file.
        dtype: the precision of the weights.
        tokenizer: a folder with CLIP's tokenizer.

    Raises:
        ValueError: for a file that is not whole, holds more than weights, or is of another model, with what was found.
    """
    state = read_state_dict(path)
    words = load_tokenizer(tokenizer)
    model: Any = clip_of(state, words.eos_token_id, path.name)
    side = model.config.vision_config.image_size
    preprocessing = Preprocessing("longest", (side, side), (side, side), program="open_clip")
    return TransformersEncoder(model.to(dtype), words, preprocessing, name=path.stem)


def clip_of(state: Mapping[str, Tensor], end: int, name: str) -> Any:
    """A ``CLIPModel`` of transformers with the weights that open_clip has in ``state``.

    Raises:
        MismatchError: if they are not those of a ViT-H, with ``name`` and what differs.
    """
    from transformers import CLIPModel

    missing = [key for key in OUTER if key not in state]
    if missing:
        raise MismatchError(f"{name} is no CLIP that open_clip saved: {missing[0]!r} is not among its {len(state)} weights.")
    config = _config(state, end, name)
    try:
        model = build_with_weights(lambda: CLIPModel(config), to_transformers(state))
    except MismatchError as error:
        raise MismatchError(f"{name} has open_clip's names, but is not a whole CLIP ViT-H/14 as HPS v2 is. {error}") from error
    for module in model.modules():
        if isinstance(places := getattr(module, "position_ids", None), Tensor):  # counted, and no weight
            module.position_ids = torch.arange(places.shape[-1])[None]
    return model


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an open_clip CLIP under the names that transformers has for them; what has no counterpart keeps its own."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tower = next((prefix for prefix in TOWERS if name.startswith(prefix)), "")
        number, _, rest = name.removeprefix(tower).partition(".") if tower else ("", "", "")
        layer = f"{TOWERS[tower]}{number}." if tower else ""
        module, _, kind = (rest or name).rpartition(".")
        if name in OUTER:
            found[OUTER[name]] = tensor.T if name in TRANSPOSED else tensor
        elif rest.startswith(MERGED):
            for part, some in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{layer}self_attn.{part}_proj.{rest.removeprefix(MERGED)}"] = some
        elif names := IN_A_LAYER if tower else MODULES:
            found[f"{layer}{names[module]}.{kind}" if module in names else name] = tensor
    found.pop("attn_mask", None)  # causal, in every CLIP
    return found


def _config(state: Mapping[str, Tensor], end: int, name: str) -> Any:
    from transformers import CLIPConfig

    words, length = state["token_embedding.weight"], state["positional_embedding"].shape[0]
    patches = state["visual.conv1.weight"]
    widths = patches.shape[0], words.shape[1]
    if widths[0] % VISION_HEAD or widths[1] % TEXT_HEAD:
        raise MismatchError(
            f"{name} is a CLIP of open_clip with towers of {widths[0]} (images) and {widths[1]} channels (text). HPS v2 is a ViT-H/14, of "
            f"1280 and 1024; take HPS_v2.1_compressed.pt, or for another CLIP a folder as transformers saves it. {REGISTERED.where}"
        )

    def tower(prefix: str, width: int, head: int) -> dict[str, Any]:
        layers = {key.removeprefix(prefix).partition(".")[0] for key in state if key.startswith(prefix)}
        hidden = state[f"{prefix}0.mlp.c_fc.weight"].shape[0] if f"{prefix}0.mlp.c_fc.weight" in state else 4 * width
        sizes = {"hidden_size": width, "intermediate_size": hidden, "num_hidden_layers": len(layers)}
        return {**sizes, "num_attention_heads": width // head, "hidden_act": "gelu"}

    text_prefix, vision_prefix = TOWERS
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5) * patches.shape[-1]
    return CLIPConfig(
        text_config={
            **tower(text_prefix, widths[1], TEXT_HEAD),
            "vocab_size": words.shape[0],
            "max_position_embeddings": length,
            "eos_token_id": end,
        },
        vision_config={**tower(vision_prefix, widths[0], VISION_HEAD), "image_size": side, "patch_size": patches.shape[-1]},
        projection_dim=state["text_projection"].shape[1],
    )


def _recognizes(path: Path) -> bool:
    if not path.is_file():
        return False
    names = {key.removeprefix("module.") for key in weight_shapes(path)}
    return OUTER.keys() <= names


NAME = "HPS v2"
REGISTERED = Entry(
    summary="What people prefer: the cosine of a CLIP ViT-H/14 trained on their choices.",
    where="https://huggingface.co/xswu/HPSv2",
    license="Apache-2.0",
    files="HPS_v2.1_compressed.pt",
    recognizes=_recognizes,
    load=load_hps,
    tokenizer="clip",
)
