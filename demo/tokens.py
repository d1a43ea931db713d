"""The demo model's tokenizer: one token a word, the same for the generator and the reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .architecture import TEXT_LENGTH
from .captions import WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MARKS = ("<pad>", "<unk>", "<s>", "</s>")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer that puts ``<s>`` and ``</s>`` about a text; commas and other marks are skipped."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate((*MARKS, *WORDS))}
    tokenizer: Any = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex("[^a-z ]"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=TEXT_LENGTH,
    )
