"""A vision-language model that ComfyUI has loaded as a text encoder, asked whether an image shows its prompt.

After VQAScore (arXiv 2404.01291, equation 1): the score is the probability of the answer "yes", here of "yes" against "no". It is for
choosing: no gradient is taken through such a model.
"""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management
import comfy.text_encoders.llama
import torch
from torch import Tensor

from ..schema.prompts import one_per_image
from .layout import to_image

QUESTION = 'Does this image show "{prompt}"? Answer yes or no.'
ANSWERS = (("yes", "Yes", " yes", " Yes"), ("no", "No", " no", " No"))
LEAST = 0.5
NO_HEAD = (
    "ComfyUI loads {name} without its output layer, so that it can encode but not answer. Use one that is loaded with it: "
    "Qwen3-VL 4B or 8B."
)
BLIND = "{name} is a text encoder that does not look at images. Load a vision-language model instead (CLIP Loader: Qwen3-VL 4B or 8B)."
EVASIVE = "%s answers neither yes nor no in most cases (both together: %.0f %%), so its scores mean little. Is its file complete?"


class VLMReward:
    """The probability that the answer to "does this image show the prompt?" is yes, between 0 and 1. Has no gradient.

    Args:
        clip: a CLIP of ComfyUI whose model is a vision-language model with its output layer.

    Raises:
        ValueError: for another text encoder, with what it lacks.
    """

    kind = "VLM"
    image_size = 448

    def __init__(self, clip: Any) -> None:
        self._clip = clip
        self._inner: Any = getattr(clip.cond_stage_model, getattr(clip.cond_stage_model, "clip", ""), None)
        transformer: Any = getattr(self._inner, "transformer", None)
        self.name = str(getattr(clip.cond_stage_model, "clip", type(clip.cond_stage_model).__name__))
        if not hasattr(transformer, "preprocess_embed"):
            raise ValueError(BLIND.format(name=self.name))
        untied = isinstance(transformer, comfy.text_encoders.llama.Qwen25_7BVLI)  # its words and its answers have weights of their own
        if untied or not hasattr(transformer, "logits") or getattr(transformer.model, "norm", None) is None:
            raise ValueError(NO_HEAD.format(name=self.name))
        words = getattr(clip.tokenizer, clip.tokenizer.clip).tokenizer
        self._yes, self._no = (_single_tokens(words, answers) for answers in ANSWERS)
        self._told = False

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """``(B,)`` in [0, 1], without gradient, for images ``(B, 3, H, W)`` in [0, 1]."""
        prompts = one_per_image(prompts, len(images))
        with torch.no_grad():
            pixels = to_image(images.detach().float().clamp(0, 1))
            return torch.stack([self._ask(pixels[row : row + 1], prompt) for row, prompt in enumerate(prompts)]).to(images.device)

    def _ask(self, pixels: Tensor, prompt: str) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        tokens = self._clip.tokenize(QUESTION.format(prompt=prompt), image=pixels)
        if not any(isinstance(token[0], dict) for row in next(iter(tokens.values())) for token in row):
            raise ValueError(BLIND.format(name=self.name))
        chances = self._logits(tokens)[0].softmax(-1)
        yes, no = chances[self._yes].sum(), chances[self._no].sum()
        if not self._told and not float(yes + no) >= LEAST:
            logging.warning(EVASIVE, self.name, 100 * float(yes + no))
            self._told = True
        return yes / (yes + no)

    def _logits(self, tokens: Any) -> Tensor:
        """``(1, words)``: of the word that comes next. The model's own forward, which places images, and its output layer."""
        model = self._clip.cond_stage_model
        try:
            model.reset_clip_options()
            self._clip.load_model(tokens)
            device = self._clip.patcher.load_device
            model.set_clip_options({"layer": None, "execution_device": device})
            with comfy.model_management.cuda_device_context(device):
                last = self._inner([[token[0] for token in row] for row in next(iter(tokens.values()))])[0]
                logits: Tensor = self._inner.transformer.logits(last)[:, -1].float()
                return logits
        finally:
            model.reset_clip_options()


def _single_tokens(tokenizer: Any, words: tuple[str, ...]) -> list[int]:
    found = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    return sorted({int(ids[0]) for ids in found if len(ids) == 1})
