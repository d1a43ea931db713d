"""Sentences as the tokens of BERT (uncased), and finding its vocabulary, which the files of the rewards that read it do not hold."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..schema.weights import WeightsError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
ADDED = 2  # BLIP's own [DEC] and [ENC], which no prompt has
MOST_KEPT = 256
NO_VOCABULARY = (
    "{file} holds no vocabulary, and there is none of BERT (uncased, {words} words) beside it: put vocab.txt of "
    "https://huggingface.co/google-bert/bert-base-uncased into {folder}, or into a folder bert-base-uncased in there.{found}"
)


class BertPrompts:
    """Prompts to tokens ``(n, l)`` and a mask of the same shape that is 0 where a shorter prompt has ended.

    Args:
        tokenizer: of the ``tokenizers`` library.
        limit: tokens that are read, with [CLS] and [SEP]. Of a longer prompt, the log names the words left out, once.
        name: how that message calls the reward.
    """

    def __init__(self, tokenizer: Any, limit: int, name: str) -> None:
        self._tokenizer, self._limit, self._name = tokenizer, limit, name
        self._first, self._last = (int(tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]"))
        self._pad = int(tokenizer.token_to_id("[PAD]"))
        self._known: dict[str, list[int]] = {}

    def __call__(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """See the class."""
        rows = [self._ids(prompt) for prompt in prompts]
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._pad] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids, mask

    def _ids(self, prompt: str) -> list[int]:
        if prompt not in self._known:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            encoded = self._tokenizer.encode(prompt, add_special_tokens=False)
            room = self._limit - 2
            if len(encoded.ids) > room:
                left_out = prompt[encoded.offsets[room][0] :].strip()
                logging.warning("%s reads %d tokens of a prompt; these words are left out: %s", self._name, room, left_out)
            self._known[prompt] = [self._first, *encoded.ids[:room], self._last]
        return self._known[prompt]


def find_vocabulary(path: Path, rows: int) -> Any:
    """The tokenizer whose vocabulary lies in the folder of ``path``, in ``path`` itself, or in a folder beside it.

    Args:
        path: the reward's file or folder.
        rows: of its table of words: BERT's, and BLIP's two.

    Raises:
        ValueError: if there is none, with what to put where; or only those of other models, which are named.
    """
    inside = [path] if path.is_dir() else []
    folders = [*inside, path.parent, *sorted(each for each in path.parent.iterdir() if each.is_dir() and each != path)]
    found = []
    for file in (folder / name for folder in folders for name in ("vocab.txt", "tokenizer.json")):
        if not file.is_file():
            continue
        tokenizer = _read(file)
        if tokenizer is not None and tokenizer.get_vocab_size() == rows - ADDED and None not in map(tokenizer.token_to_id, SPECIAL):
            return tokenizer
        found.append(str(file.relative_to(path.parent)))
    others = f" What is there is of other models: {', '.join(found)}." if found else ""
    raise WeightsError(NO_VOCABULARY.format(file=path.name, words=rows - ADDED, folder=path.parent, found=others))


def _read(file: Path) -> Any:
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    try:
        if file.name == "vocab.txt":
            return BertWordPieceTokenizer(str(file), lowercase=True)
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    except Exception:  # the tokenizers library raises plain Exceptions, and of no model is this file then
        return None
