"""Where a vision transformer's class token attends: DINOv2 and CLIP, through the transformers library.

These maps are labeled "attention": the networks were trained to describe images, not to predict where people look. Two readings:

- "last": the class token's row of the last block's attention, averaged over the heads, as in Caron et al., "Emerging Properties in
  Self-Supervised Vision Transformers", 2021, figure 1;
- "rollout": attention followed through all blocks, half of each being the residual connection (Abnar, Zuidema, "Quantifying
  Attention Flow in Transformers", 2020, section 4).

The layers are transformers' own, so that a host moves these models as a whole; fused attention does not return its weights, so that
they are loaded with the eager implementation. No code of a model's repository is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from ..image_ops.resize import resize
from ..schema.weights import WeightsError, working_dtype
from .entries import Entry, RemoteFile, Weights
from .interface import SaliencyModel
from .maps import divide_by_maximum

Method = Literal["last", "rollout"]
Family = Literal["dinov2", "clip"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_NORMALIZATION = {"dinov2": _IMAGENET, "clip": _OPENAI}
_MODEL_TYPES = {"dinov2": "dinov2", "dinov2_with_registers": "dinov2", "clip": "clip", "clip_vision_model": "clip"}
_CLIP_PREFIX = "vision_model."
# Attention heads of CLIP's vision towers by width, where they are not of 64 channels: the files do not say (ViT-H, g and bigG of LAION).
_CLIP_HEADS = {1280: 16, 1408: 16, 1664: 16}


class AttentionSaliency(SaliencyModel):
    """Attention of a vision transformer's class token to the places of the image, stretched to [0, 1].

    Images are resized to about as many pixels as the network was trained with, in their own aspect ratio and whole patches; position
    embeddings are interpolated where the grid is not the trained one.

    Args:
        vision: a transformers vision model that returns attentions, tokens in the order class, registers, patches.
        name: in the registry.
        method: "last" or "rollout".
        input_size: (height, width) that images are resized to, rounded to whole patches; None for the above.
        normalization: (mean, std) of the channels.
        side: of the square images that the network was trained with, pixels.

    Raises:
        ValueError: unknown method, or an input size that is not two positive numbers.
    """

    kind = "attention"
    needs_weights = True

    def __init__(
        self,
        vision: nn.Module,
        name: str,
        method: Method = "last",
        *,
        input_size: tuple[int, int] | None = None,
        normalization: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET,
        side: int = 224,
    ) -> None:
        super().__init__()
        if method not in get_args(Method):
            raise ValueError(f"Attention is read as 'last' or 'rollout'; got {method!r}.")
        if input_size is not None and (len(input_size) != 2 or min(input_size) < 1):
            raise ValueError(f"The input size is (height, width), at least 1 each; got {tuple(input_size)}.")
        self.vision = vision
        self.name = name
        self.method = method
        self.input_size = input_size
        self.normalization = normalization
        self.trained_side = side
        config: Any = vision.config
        self.patch = int(config.patch_size)
        # DINOv2 interpolates its positions by itself, and its forward has no such argument.
        self.forward_options = {"interpolate_pos_encoding": True} if _MODEL_TYPES.get(config.model_type) == "clip" else {}
        self.prefix = 1 + int(getattr(config, "num_register_tokens", 0))

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, rows, columns), one number for each patch, from 0 to 1."""
        grid = self._grid(images.shape[-2], images.shape[-1])
        small = resize(images, (grid[0] * self.patch, grid[1] * self.patch))
        mean, std = (small.new_tensor(values).view(3, 1, 1) for values in self.normalization)
        attentions = self._attentions(((small - mean) / std).to(working_dtype(self.vision, small)))
        heads = [attention.to(images.dtype).mean(dim=1) for attention in attentions]
        row = heads[-1][:, 0] if self.method == "last" else rollout(heads)
        maps = rearrange(row[:, self.prefix :], "b (rows columns) -> b 1 rows columns", rows=grid[0])
        return divide_by_maximum(maps - maps.amin(dim=(-3, -2, -1), keepdim=True))

    def _attentions(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.vision(pixel_values=pixels, output_attentions=True, **self.forward_options).attentions

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        if self.input_size is not None:
            return max(1, round(self.input_size[0] / self.patch)), max(1, round(self.input_size[1] / self.patch))
        side = self.trained_side / self.patch
        stretch = min(max((height / width) ** 0.5, 1 / side), side)
        return max(1, round(side * stretch)), max(1, round(side / stretch))


def rollout(attentions: list[Tensor]) -> Tensor:
    """Return where the class token's information comes from, (B, N).

    Args:
        attentions: for each block, the first first, (B, N, N), rows summing to 1.
    """
    # Only the class token's row is asked for, so that vectors are multiplied from the last block down, not matrices.
    flow = torch.zeros_like(attentions[0][:, 0])
    flow[:, 0] = 1
    for attention in reversed(attentions):
        flow = (flow + (flow[:, None] @ attention)[:, 0]) / 2
    return flow


def _build(
    family: Family, method: Method, weights: str | Path | Mapping[str, Tensor], operations: Any = None, **options: Any
) -> AttentionSaliency:
    """Load from a transformers folder, or from a state dict whose sizes tell the configuration. Layers are transformers' own."""
    name = _entry_name(family, method)
    if isinstance(weights, Mapping):
        vision, folder = _from_state(name, family, weights), None
    else:
        vision, folder = _from_folder(name, family, Path(weights)), Path(weights)
    normalization, side = _preprocessing(folder, family, vision.config)
    return AttentionSaliency(vision, name, method, normalization=normalization, side=side, **options)


def _entry_name(family: Family, method: Method) -> str:
    return f"{family}-attention" if method == "last" else f"{family}-rollout"


def _from_folder(name: str, family: Family, folder: Path) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} is not a transformers model: it has no config.json. Put the whole folder there, or choose another.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"The configuration in {folder} cannot be read: {_first_line(error)}. Download the folder again.") from error
    if _MODEL_TYPES.get(config.model_type) != family:
        raise WeightsError(
            f"{folder} holds a model of the type {config.model_type!r}; {name!r} reads {family} models. Choose such a folder."
        )
    try:
        return _load(name, config.model_type, folder)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"The weights in {folder} cannot be read: {_first_line(error)}. Download them again.") from error


def _from_state(name: str, family: Family, state: Mapping[str, Tensor]) -> Any:
    if not _recognizes(family, state):
        first = next(iter(state), "none")
        raise WeightsError(f"These are not the weights of a {family} vision transformer as transformers stores them (first key {first!r}).")
    kept = {key: value for key, value in state.items() if not key.endswith("position_ids")}
    if family == "clip":
        kept = {_CLIP_PREFIX + key: value for key, value in _clip_tower(kept).items()}
    config = _clip_config(kept) if family == "clip" else _dinov2_config(kept)
    return _load(name, config.model_type, None, config=config, state_dict=kept)


def _load(name: str, model_type: str, folder: Path | None, **options: Any) -> Any:
    import transformers

    classes = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}
    model_class = getattr(transformers, classes.get(model_type, "CLIPVisionModel"))
    model, report = model_class.from_pretrained(
        folder, attn_implementation="eager", local_files_only=True, output_loading_info=True, **options
    )
    missing = [key for key in report["missing_keys"] if not key.endswith("mask_token")]
    if missing:
        raise WeightsError(
            f"These are not the weights of {name!r}: {len(missing)} are missing (first {min(missing)!r}). Download them again."
        )
    return model.requires_grad_(False).eval()


def _preprocessing(folder: Path | None, family: Family, config: Any) -> tuple[tuple[tuple[float, ...], tuple[float, ...]], int]:
    """Return ((mean, std), side) of the folder's preprocessor_config.json, else of the family."""
    side = int(config.image_size) if family == "clip" else 16 * int(config.patch_size)
    path = folder / "preprocessor_config.json" if folder is not None else None
    if path is None or not path.is_file():
        return _NORMALIZATION[family], side
    stored = json.loads(path.read_text(encoding="utf-8"))
    mean, std = _NORMALIZATION[family]
    crop = stored.get("crop_size", side)
    crop = crop.get("height", side) if isinstance(crop, dict) else crop
    return (tuple(stored.get("image_mean", mean)), tuple(stored.get("image_std", std))), int(crop)


def _dinov2_config(state: Mapping[str, Tensor]) -> Any:
    import transformers

    registers = state.get("embeddings.register_tokens")
    width = state["embeddings.cls_token"].shape[-1]
    patch = state["embeddings.patch_embeddings.projection.weight"].shape[-1]
    sizes: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": _count(state, "encoder.layer."),
        "num_attention_heads": width // 64,
        "patch_size": patch,
        "image_size": patch * _grid_side(state["embeddings.position_embeddings"].shape[1]),
        "use_swiglu_ffn": "encoder.layer.0.mlp.weights_in.weight" in state,
    }
    if registers is not None:
        return transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers.shape[1])
    return transformers.Dinov2Config(**sizes)


def _clip_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The vision tower's weights of a whole CLIP or of the tower alone, which transformers names without its prefix since version 5."""
    if any(key.startswith(_CLIP_PREFIX) for key in state):
        return {key.removeprefix(_CLIP_PREFIX): value for key, value in state.items() if key.startswith(_CLIP_PREFIX)}
    return dict(state)


def _clip_config(state: Mapping[str, Tensor]) -> Any:
    from transformers import CLIPVisionConfig

    width = state["vision_model.embeddings.class_embedding"].shape[0]
    patch = state["vision_model.embeddings.patch_embedding.weight"].shape[-1]
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=state["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=_count(state, "vision_model.encoder.layers."),
        num_attention_heads=_CLIP_HEADS.get(width, width // 64),
        patch_size=patch,
        image_size=patch * _grid_side(state["vision_model.embeddings.position_embedding.weight"].shape[0]),
        # OpenAI's towers (B and L) were trained with the approximation, LAION's (H, g, bigG) with the exact GELU.
        hidden_act="gelu" if width in _CLIP_HEADS else "quick_gelu",
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key.removeprefix(prefix).split(".", 1)[0]) for key in state if key.startswith(prefix))


def _grid_side(positions: int) -> int:
    return round((positions - 1) ** 0.5)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _recognizes(family: Family, state: Mapping[str, Tensor]) -> bool:
    if family == "clip":
        tower = _clip_tower(state)
        return "embeddings.class_embedding" in tower and "encoder.layers.0.mlp.fc1.weight" in tower
    return (
        "embeddings.cls_token" in state
        and "embeddings.patch_embeddings.projection.weight" in state
        and "encoder.layer.0.norm1.weight" in state
    )


def _hub(repository: str, revision: str, name: str, size: int, sha256: str) -> RemoteFile:
    return RemoteFile(name, f"https://huggingface.co/{repository}/resolve/{revision}/{name}", size, sha256)


_DINOV2 = partial(_hub, "facebook/dinov2-small", "ed25f3a31f01632728cabb09d1542f84ab7b0056")
_CLIP = partial(_hub, "openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41")
_WEIGHTS = {
    "dinov2": Weights(
        where="https://huggingface.co/facebook/dinov2-small, or any DINOv2 in the transformers format",
        size="88 MB, 22.1 M parameters",
        license="Apache-2.0",
        filename="dinov2-small",
        folder=True,
        remote=(
            _DINOV2("model.safetensors", 88_249_960, "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1"),
            _DINOV2("config.json", 547, "1809f83e3bdb1609a501a610ad4a742f4fd8ae44d72ca4aa0df52d1f2ac8628d"),
            _DINOV2("preprocessor_config.json", 436, "14e780d86fa1861f8751f868d7f45425b5feb55c38ca26f152ca5097ab30f828"),
        ),
    ),
    "clip": Weights(
        where="https://huggingface.co/openai/clip-vit-large-patch14, any CLIP in the transformers format, or a file of models/clip_vision",
        size="1.7 GB, of which the vision tower is 303 M parameters",
        license="MIT",
        filename="clip-vit-large-patch14",
        folder=True,
        remote=(
            _CLIP("model.safetensors", 1_710_540_580, "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"),
            _CLIP("config.json", 4_519, "8a09b467700c58138c29d53c605b34ebc69beaadd13274a8a2af8ad2c2f4032a"),
        ),
    ),
}


def _entry(family: Family, method: Method) -> Entry:
    return Entry(
        name=_entry_name(family, method),
        kind="attention",
        license="Apache-2.0",
        build=partial(_build, family, method),
        weights=_WEIGHTS[family],
        # A file fits both readings; the simpler one is meant.
        recognizes=partial(_recognizes, family) if method == "last" else None,
    )


ENTRIES = [_entry(family, method) for family in get_args(Family) for method in get_args(Method)]
