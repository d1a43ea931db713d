"""Encoders that put images and sentences into one space, so that the angle between them says how well they fit."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..numerics.loss_scaling import scaled
from .interface import CosineReward, at_least_float32
from .preprocessing import Preprocessing


class TransformersEncoder(CosineReward):
    """A model of transformers with a text and an image tower: CLIP, PickScore, SigLIP, SigLIP 2 at a fixed resolution.

    The weights are frozen. Prompts longer than the model reads are cut off at its limit, with a warning that names the words left out,
    once for each prompt.

    Args:
        model: has ``get_text_features`` and ``get_image_features``.
        tokenizer: the model's own, of transformers.
        preprocessing: the model's own.
        name: how messages call it.

    Raises:
        ValueError: if the tokenizer does not belong to the model: the prompt's end, where CLIP reads its meaning off, is not found, or
            it has more tokens than the model.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, preprocessing: Preprocessing, name: str = "The encoder") -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing
        self.name = name
        config: Any = model.config
        text = config.text_config
        self._fixed_length = str(config.model_type).startswith("siglip")  # trained on padded prompts, without a mask
        self._lower_case = self._fixed_length and bool(getattr(tokenizer, "init_kwargs", {}).get("do_lower_case"))
        self.max_tokens = min(int(text.max_position_embeddings), int(getattr(tokenizer, "model_max_length", 1 << 30)))
        self._told: set[str] = set()  # of prompts that are too long
        self._check_tokenizer(text)

    @property
    def image_size(self) -> int:
        """The side of the images the image tower takes, in pixels."""
        size = self.preprocessing.output_size
        return min(size) if size else 224

    @property
    def vision_shape(self) -> dict[str, Any]:
        """``num_hidden_layers``, ``hidden_size``, ``image_size`` and ``patch_size`` of the image tower."""
        shape: dict[str, Any] = self.model.config.vision_config.to_dict()
        return shape

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return next(self.model.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def encode_text(self, prompts: list[str]) -> Tensor:
        """``(n, d)`` unit vectors on the model's device, at least float32, ordinary tensors without gradient."""
        # One at a time: there are few, and models without a padding token can be used too.
        with torch.inference_mode(False), torch.no_grad():
            vectors = [features(self.model.get_text_features(**self._tokens(prompt))) for prompt in prompts]
            return functional.normalize(at_least_float32(torch.cat(vectors)), dim=-1).detach()

    def encode_image(self, images: Tensor) -> Tensor:
        """``(B, d)`` unit vectors, at least float32, for images ``(B, 3, H, W)`` in [0, 1]; differentiable in the images."""
        return self.embed(self.preprocessing(images))

    def embed(self, pixel_values: Tensor) -> Tensor:
        """``(B, d)`` unit vectors for preprocessed images ``(B, 3, h, w)``."""
        half = self.dtype in (torch.float16, torch.bfloat16)
        return functional.normalize(scaled(self._image_features, pixel_values) if half else self._image_features(pixel_values), dim=-1)

    def _image_features(self, pixel_values: Tensor) -> Tensor:
        return at_least_float32(features(self.model.get_image_features(pixel_values=pixel_values.to(self.device, self.dtype))))

    def _tokens(self, prompt: str) -> dict[str, Tensor]:
        if self._lower_case:
            prompt = prompt.lower()
        self._warn_of_words_left_out(prompt)
        options: dict[str, Any] = {"truncation": True, "max_length": self.max_tokens, "return_tensors": "pt"}
        if self._fixed_length:
            ids = self.tokenizer(prompt, padding="max_length", **options)["input_ids"]
            return {"input_ids": ids.to(self.device)}
        tokens = self.tokenizer(prompt, **options)
        return {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask") if name in tokens}

    def _warn_of_words_left_out(self, prompt: str) -> None:
        if prompt in self._told:
            return
        words = self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        room = self.max_tokens - self.tokenizer.num_special_tokens_to_add()
        if len(words) > room:
            left_out = self.tokenizer.decode(words[room:]).strip()
            logging.warning("%s reads %d tokens of a prompt; these words are left out: %s", self.name, room, left_out)
            self._told.add(prompt)

    def _check_tokenizer(self, text: Any) -> None:
        ids = [int(i) for i in self.tokenizer("a", truncation=True, max_length=self.max_tokens)["input_ids"]]
        highest = max(ids, default=0)
        if highest >= text.vocab_size:
            raise ValueError(
                f"{self.name}: the tokenizer gives token {highest}, but the text tower knows only {text.vocab_size} tokens. "
                "The tokenizer belongs to another model; put the model's own tokenizer files beside it."
            )
        end = getattr(text, "eos_token_id", None)
        # Configurations with end token 2 are old ones, for which transformers takes the highest token instead.
        if self._fixed_length or end is None or end == 2 or end in ids:
            return
        raise ValueError(
            f"{self.name}: prompts do not end with token {end}, at which the text tower reads off their meaning, so that all prompts would "
            "mean the same. The tokenizer is of another model, or adds no end token; put the model's own tokenizer files beside it."
        )


def features(output: Any) -> Tensor:
    """The projected features: transformers 4 returns them, transformers 5 an output that has them as its pooled part."""
    return output if isinstance(output, Tensor) else output.pooler_output
