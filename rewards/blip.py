"""Rewards made of BLIP: an image tower, BERT reading the prompt with cross attention to the image, and a head on its first token.

ImageReward (arXiv 2304.05977; score_gard in ImageReward/ImageReward.py of github.com/THUDM/ImageReward) and CycleReward (arXiv 2506.02095;
score in cyclereward/model.py of github.com/hjbahng/cyclereward). The towers are those of transformers; the published files name the parts
of BLIP's own program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..numerics.loss_scaling import scaled
from ..schema.prompts import one_per_image
from ..schema.weights import build_with_weights, read_state_dict, weight_shapes
from .bert_prompts import BertPrompts, find_vocabulary
from .heads import Head
from .interface import at_least_float32
from .preprocessing import Preprocessing

HEAD_WIDTH = 64  # of one attention head, in BLIP as in BERT
UNUSED = re.compile(r"blip\.(vision_proj|text_proj)\.|\.position_ids$")  # of BLIP's contrastive loss; numbers counted up
RENAMED = (
    (r"^blip\.text_encoder\.", "text."),
    (r"^blip\.visual_encoder\.norm\.", "vision.post_layernorm."),
    (r"^blip\.visual_encoder\.cls_token$", "vision.embeddings.class_embedding"),
    (r"^blip\.visual_encoder\.pos_embed$", "vision.embeddings.position_embedding"),
    (r"^blip\.visual_encoder\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.norm", r"vision.encoder.layers.\1.layer_norm"),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.attn\.proj\.", r"vision.encoder.layers.\1.self_attn.projection."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.attn\.", r"vision.encoder.layers.\1.self_attn."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.", r"vision.encoder.layers.\1."),
    (r"^mlp\.", "head."),
)


@dataclass(frozen=True)
class Kind:
    """What one of these rewards differs in from the others.

    Attributes:
        name: how messages call it.
        tokens: of a prompt that it reads, with the first and the last one.
        places: the numbers of the head's layers in the file.
        gelu: whether there is a GELU between them.
        mean, deviation: taken off the head's number, and what the rest is divided by.
    """

    name: str
    tokens: int
    places: tuple[int, ...]
    gelu: bool
    mean: float = 0.0
    deviation: float = 1.0


class BlipReward:
    """How good an image is for its prompt; see :class:`Kind`. The weights are frozen.

    Args:
        model: ``vision``, ``text`` and ``head``.
        prompts: reads sentences as tokens.
        kind: what is particular to it.
        name: how messages call it.
    """

    def __init__(self, model: nn.Module, prompts: BertPrompts, kind: Kind, name: str) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.name = name
        self._prompts, self._kind = prompts, kind
        side = int(self.vision_shape["image_size"])
        self.preprocessing = Preprocessing(size=(side, side), crop=(side, side))

    @property
    def image_size(self) -> int:
        """The side of the images it takes, in pixels."""
        return int(self.vision_shape["image_size"])

    @property
    def vision_shape(self) -> dict[str, Any]:
        """``num_hidden_layers``, ``hidden_size``, ``image_size`` and ``patch_size`` of the image tower."""
        shape: dict[str, Any] = self.model.vision.config.to_dict()
        return shape

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """See ``rewards.interface.Reward``."""
        weights = self.model.text.embeddings.word_embeddings.weight
        ids, mask = (each.to(weights.device) for each in self._prompts(one_per_image(prompts, len(images))))

        def score(pixels: Tensor) -> Tensor:
            seen = self.model.vision(pixel_values=pixels.to(weights)).last_hidden_state
            read = self.model.text(input_ids=ids, attention_mask=mask, encoder_hidden_states=seen).last_hidden_state
            found: Tensor = self.model.head(at_least_float32(read[:, 0]))
            return (found - self._kind.mean) / self._kind.deviation

        pixels = self.preprocessing(images)
        return scaled(score, pixels) if weights.dtype in (torch.float16, torch.bfloat16) else score(pixels)


def load_blip(path: Path, dtype: torch.dtype, kind: Kind) -> BlipReward:
    """Load a published file, or a folder with it as ``model.safetensors``; BERT's vocabulary is beside it.

    Raises:
        ValueError: for a file that is not whole or not this model's, or where the vocabulary is missing.
    """
    file = weights_file(path)
    published = read_state_dict(file)
    state = {_renamed(key): value for key, value in published.items() if not UNUSED.search(key)}
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    words = shapes["text.embeddings.word_embeddings.weight"][0]
    prompts = BertPrompts(find_vocabulary(path, words), kind.tokens, kind.name)
    cast = {key: value.to(_kept(key, dtype)) for key, value in state.items()}
    return BlipReward(build_with_weights(lambda: _towers(shapes, kind), cast, kind.name), prompts, kind, path.name)


def is_blip(path: Path, places: Sequence[int]) -> bool:
    """Whether a file, or the ``model.safetensors`` of a folder, is of a reward of this family whose head has layers at ``places``."""
    shapes = weight_shapes(weights_file(path)) if weights_file(path).is_file() else {}
    layers = [int(found[1]) for key in shapes if (found := re.fullmatch(r"mlp\.layers\.(\d+)\.weight", key))]
    needed = ("blip.visual_encoder.pos_embed", "blip.visual_encoder.patch_embed.proj.weight", *TEXT_SHAPES)
    return sorted(layers) == list(places) and all(key in shapes for key in needed)


TEXT_SHAPES = (
    "blip.text_encoder.embeddings.word_embeddings.weight",
    "blip.text_encoder.embeddings.position_embeddings.weight",
    "blip.text_encoder.encoder.layer.0.intermediate.dense.weight",
)


def weights_file(path: Path) -> Path:
    """The file with the weights: the path itself, or that in the folder."""
    return path / "model.safetensors" if path.is_dir() else path


def _renamed(key: str) -> str:
    for pattern, name in RENAMED:
        new, count = re.subn(pattern, name, key)
        if count:
            return new
    return key


def _kept(key: str, dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32) if key.startswith("head.") else dtype


def _towers(shapes: Mapping[str, tuple[int, ...]], kind: Kind) -> nn.Module:
    """The model that weights of these shapes are of."""
    from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

    patch, positions = shapes["vision.embeddings.patch_embedding.weight"], shapes["vision.embeddings.position_embedding"]
    vision = BlipVisionConfig(
        hidden_size=patch[0],
        intermediate_size=shapes["vision.encoder.layers.0.mlp.fc1.weight"][0],
        num_hidden_layers=_count(shapes, r"vision\.encoder\.layers\.(\d+)\."),
        num_attention_heads=max(1, patch[0] // HEAD_WIDTH),
        image_size=round((positions[1] - 1) ** 0.5) * patch[-1],
        patch_size=patch[-1],
        layer_norm_eps=1e-6,
    )
    words, width = shapes["text.embeddings.word_embeddings.weight"]
    places = shapes["text.embeddings.position_embeddings.weight"][0]
    text = BlipTextConfig(
        vocab_size=words,
        hidden_size=width,
        encoder_hidden_size=patch[0],
        intermediate_size=shapes["text.encoder.layer.0.intermediate.dense.weight"][0],
        num_hidden_layers=_count(shapes, r"text\.encoder\.layer\.(\d+)\."),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        max_position_embeddings=places,
        bos_token_id=None,
        sep_token_id=None,
    )
    bert = BlipTextModel(text, add_pooling_layer=False)
    # Counted up, not stored: without a value of its own it would stay without storage.
    bert.embeddings.position_ids = torch.arange(places, device="cpu")[None]
    return nn.ModuleDict({"vision": BlipVisionModel(vision), "text": bert, "head": Head(width, kind.places, kind.gelu)})


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    return 1 + max((int(found[1]) for key in shapes if (found := re.match(pattern, key))), default=0)
