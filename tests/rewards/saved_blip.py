"""A small reward of BLIP's family with weights made of their names, saved as such rewards are published, and a vocabulary as BERT's is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from sgool.harness.seeded_weights import seeded_state
from torch import Tensor

from .saved_models import WORDS

VISION, TEXT, LAYERS, PATCH, SIDE, PLACES = 128, 64, 2, 8, 32, 140
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", ","]
IMAGE_REWARD, CYCLE_REWARD = (0, 2, 4, 6, 7), (0, 2, 4, 6, 8)


def shapes(head: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of all that the published files hold, at these sizes."""
    found: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inside: int, out: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (out, inside), (out,)

    def norm(name: str, width: int) -> None:
        found[f"{name}.weight"] = found[f"{name}.bias"] = (width,)

    eye = "blip.visual_encoder"
    found |= {f"{eye}.cls_token": (1, 1, VISION), f"{eye}.pos_embed": (1, (SIDE // PATCH) ** 2 + 1, VISION)}
    found |= {f"{eye}.patch_embed.proj.weight": (VISION, 3, PATCH, PATCH), f"{eye}.patch_embed.proj.bias": (VISION,)}
    for layer in (f"{eye}.blocks.{number}" for number in range(LAYERS)):
        norm(f"{layer}.norm1", VISION)
        norm(f"{layer}.norm2", VISION)
        linear(f"{layer}.attn.qkv", VISION, 3 * VISION)
        linear(f"{layer}.attn.proj", VISION, VISION)
        linear(f"{layer}.mlp.fc1", VISION, 4 * VISION)
        linear(f"{layer}.mlp.fc2", 4 * VISION, VISION)
    norm(f"{eye}.norm", VISION)
    bert = "blip.text_encoder"
    found |= {f"{bert}.embeddings.word_embeddings.weight": (len(VOCABULARY) + 2, TEXT)}
    found |= {f"{bert}.embeddings.position_embeddings.weight": (PLACES, TEXT), f"{bert}.embeddings.position_ids": (1, PLACES)}
    norm(f"{bert}.embeddings.LayerNorm", TEXT)
    for layer in (f"{bert}.encoder.layer.{number}" for number in range(LAYERS)):
        for attention, width in (("attention", TEXT), ("crossattention", VISION)):
            for part in ("query", "key", "value"):
                linear(f"{layer}.{attention}.self.{part}", TEXT if part == "query" else width, TEXT)
            linear(f"{layer}.{attention}.output.dense", TEXT, TEXT)
            norm(f"{layer}.{attention}.output.LayerNorm", TEXT)
        linear(f"{layer}.intermediate.dense", TEXT, 3 * TEXT)
        linear(f"{layer}.output.dense", 3 * TEXT, TEXT)
        norm(f"{layer}.output.LayerNorm", TEXT)
    linear("blip.vision_proj", VISION, 16)
    linear("blip.text_proj", TEXT, 16)
    widths = (TEXT, 1024, 128, 64, 16, 1)
    for number, place in enumerate(head):
        linear(f"mlp.layers.{place}", widths[number], widths[number + 1])
    return found


def state(head: Sequence[int]) -> dict[str, Tensor]:
    """The weights. The word that is looked at has larger numbers than usual, so that images and prompts tell in the score."""
    like = {name: torch.empty(shape, device="meta") for name, shape in shapes(head).items()}
    made = seeded_state(like, {"blip.text_encoder.encoder.layer": 4.0, "blip.visual_encoder.patch_embed": 4.0})
    made["blip.text_encoder.embeddings.position_ids"] = torch.arange(PLACES)[None]
    return made


def save_blip(folder: Path, head: Sequence[int], name: str = "reward.pt") -> Path:
    """Write the weights and ``vocab.txt`` into ``folder`` and return the file."""
    torch.save(state(head), folder / name)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return folder / name
