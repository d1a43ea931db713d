"""A CLIP that open_clip saved, such as HPS v2, as a folder that transformers (and Load Reward) reads.

Both formats hold the same numbers; only names differ, three matrices are one, and two projections are transposed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sgool.harness.problems import SetupProblem
from torch import Tensor

OUTER = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
NORMS = {
    "ln_final": "text_model.final_layer_norm",
    "visual.ln_pre": "vision_model.pre_layrnorm",  # transformers spells it so
    "visual.ln_post": "vision_model.post_layernorm",
}
TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
TOWERS = {"transformer.resblocks.": "text_model.encoder.layers.", "visual.transformer.resblocks.": "vision_model.encoder.layers."}
IN_A_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
COPIED = (".json", ".txt", ".model")


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an open_clip CLIP under the names that transformers has for them. What has no counterpart (masks) is left out."""
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = key.removeprefix("module.")
        tower = next((prefix for prefix in TOWERS if name.startswith(prefix)), "")
        module, _, kind = name.rpartition(".")
        if name in OUTER:
            found[OUTER[name]] = tensor
        elif name in TRANSPOSED:
            found[TRANSPOSED[name]] = tensor.T
        elif module in NORMS:
            found[f"{NORMS[module]}.{kind}"] = tensor
        elif tower:
            found |= _of_a_layer(TOWERS[tower], name.removeprefix(tower), tensor)
    return {name: tensor.detach().contiguous().clone() for name, tensor in found.items()}


def _of_a_layer(prefix: str, name: str, tensor: Tensor) -> dict[str, Tensor]:
    number, _, rest = name.partition(".")
    layer = f"{prefix}{number}."
    if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
        kind = rest.removeprefix("attn.in_proj_")
        return {f"{layer}self_attn.{part}_proj.{kind}": some for part, some in zip("qkv", tensor.chunk(3), strict=True)}
    module, _, kind = rest.rpartition(".")
    return {f"{layer}{IN_A_LAYER[module]}.{kind}": tensor} if module in IN_A_LAYER else {}


def make_folder(checkpoint: Path, like: Path, folder: Path) -> None:
    """Write ``folder`` with the weights of ``checkpoint`` and everything else of ``like``, a folder of a CLIP of the same shape.

    Raises:
        SetupProblem: a file that cannot be read without running code, or weights of another shape, with the first that differ.
    """
    expected = _shapes(like)
    weights = to_transformers(_read(checkpoint))
    wrong = [name for name, shape in expected.items() if name not in weights or tuple(weights[name].shape) != shape]
    if wrong or not expected:
        first = wrong[0] if wrong else "no weights at all"
        there = tuple(weights[first].shape) if first in weights else "nothing"
        raise SetupProblem(
            f"{checkpoint} is not a model like the one in {like}: {len(wrong)} of {len(expected)} tensors differ, the first is {first}, "
            f"{there} for {expected.get(first)}. HPS v2 is a CLIP ViT-H/14, as PickScore_v1 is."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path in like.iterdir():
        if path.suffix in COPIED and not path.name.endswith("index.json"):
            shutil.copyfile(path, folder / path.name)
    save_file({name: weights[name] for name in expected}, folder / "model.safetensors", {"format": "pt"})


def _read(checkpoint: Path) -> dict[str, Tensor]:
    try:
        loaded: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or unfriendly file does
        raise SetupProblem(f"{checkpoint} cannot be read as weights alone: {str(error).splitlines()[0]}") from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict):
        raise SetupProblem(f"{checkpoint} holds no state_dict.")
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights in a folder of transformers; position numbers, which old versions saved, are left out."""
    index = folder / "model.safetensors.index.json"
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        if not (folder / name).is_file():
            raise SetupProblem(f"{folder} has no {name}; --like wants a folder as transformers saves it, with safetensors.")
        with safe_open(folder / name, "pt") as file:
            found |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys() if not key.endswith("position_ids")}  # noqa: SIM118
    return found
