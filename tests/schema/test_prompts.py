"""What counts as a prompt."""

from __future__ import annotations

import pytest
from sgool.schema.prompts import plain_prompts, quoted


@pytest.mark.parametrize("prompt", ["a cat", "猫", "빨간 원", "🔴", "7", " f/1.8 "])
def test_what_says_something(prompt: str) -> None:
    assert plain_prompts([prompt], "prompt") == [prompt.strip()]


@pytest.mark.parametrize("prompt", [";;;", " ; ; ", "!?.,", "()", "-", "\u200b"])
def test_punctuation_alone_is_no_prompt(prompt: str) -> None:
    with pytest.raises(ValueError, match=r"The salient prompt .* has no words; write what the image is to show\."):
        plain_prompts([prompt], "salient prompt")


def test_an_empty_one_of_several_is_named() -> None:
    with pytest.raises(ValueError, match="The prompt 2 of 3 is empty"):
        plain_prompts(["a cat", " ", "a dog"], "prompt")


def test_long_texts_are_quoted_without_their_end() -> None:
    assert quoted("a cat") == "'a cat'"
    assert len(quoted("cat " * 10000)) < 100
