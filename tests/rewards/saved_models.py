"""Randomly initialized image-text models of a few thousand weights, saved with a tokenizer as transformers saves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sgool.rewards.preprocessing import OPENAI_MEAN, OPENAI_STD

WORDS = ["a", "red", "blue", "green", "circle", "square", "triangle", "left", "of", "right", "and", "the", "big", "small", "photo", "cat"]
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_tokenizer(folder: Path, padding: bool = False, end_last: bool = False) -> None:
    """A word-level tokenizer: pad 0, unknown 1, start 2, end 3, then the words; or the end after the words, as in CLIP's own."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<unk>", "<start>", *WORDS, "<end>"] if end_last else ["<pad>", "<unk>", "<start>", "<end>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pattern = "$A <end>" if padding else "<start> $A <end>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=pattern, special_tokens=[("<start>", 2), ("<end>", names.index("<end>"))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>", model_max_length=12
    )
    fast.save_pretrained(folder)


def save_clip(folder: Path, image: int = 32, projection: int = 24) -> None:
    """A CLIPModel with CLIP's own preprocessing at another size."""
    from transformers import CLIPConfig, CLIPModel

    text = {**TOWER, "vocab_size": 4 + len(WORDS), "max_position_embeddings": 12, "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    vision = {**TOWER, "image_size": image, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)).save_pretrained(folder)
    config = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": image}, "resample": 3}
    config |= {
        "crop_size": {"height": image, "width": image},
        "image_mean": OPENAI_MEAN,
        "image_std": OPENAI_STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    save_tokenizer(folder)


def save_siglip(folder: Path, image: int = 32) -> None:
    """A SiglipModel: padded prompts, images squeezed to a square."""
    from transformers import SiglipConfig, SiglipModel

    text = {**TOWER, "vocab_size": 4 + len(WORDS), "max_position_embeddings": 12, "projection_size": 32}
    vision = {**TOWER, "image_size": image, "patch_size": 8}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    config = {"image_processor_type": "SiglipImageProcessor", "size": {"height": image, "width": image}, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps({**config, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    save_tokenizer(folder, padding=True)


def save_naflex(folder: Path, patch: int = 8, budget: int = 24) -> None:
    """A Siglip2Model, which keeps an image's aspect ratio within a budget of patches."""
    from transformers import Siglip2Config, Siglip2Model

    text = {**TOWER, "vocab_size": 4 + len(WORDS), "max_position_embeddings": 12, "projection_size": 32}
    vision = {**TOWER, "num_patches": 16, "patch_size": patch}
    Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)).save_pretrained(folder)
    config = {"image_processor_type": "Siglip2ImageProcessor", "patch_size": patch, "max_num_patches": budget, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    save_tokenizer(folder, padding=True)


SAVERS: dict[str, Callable[[Path], None]] = {"clip": save_clip, "siglip": save_siglip}
