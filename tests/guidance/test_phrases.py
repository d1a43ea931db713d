"""What prompts are taken apart into."""

from __future__ import annotations

import numpy as np
import pytest
from sgool.demo.scenes import draw_scene
from sgool.guidance.phrases import given, named_in


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("a glass of milk on a table", ["a glass of milk on a table"]),
        ("a cat next to a dog, oil painting", ["a cat", "a dog", "oil painting"]),
        ("A cat and a dog. Behind them a house", ["A cat", "a dog", "them a house"]),
        ("a lamp to the left of a chair", ["a lamp", "a chair"]),
        ("photo, 85 mm, f1.8, andiron", ["photo", "85 mm", "f1.8", "andiron"]),
        (" , and ,", [" , and ,"]),
        ("ein Haus", ["ein Haus"]),
        ("一只猫，一只狗", ["一只猫", "一只狗"]),
    ],
)
def test_a_sentence_is_cut_between_things(prompt: str, phrases: list[str]) -> None:
    assert named_in(prompt) == phrases


def test_semicolons_are_taken_at_their_word() -> None:
    assert given(" a cat and a dog; a red, round hat ;;") == ["a cat and a dog", "a red, round hat"]
    assert given(";") == [";"]


def test_captions_of_the_demo_model_fall_into_their_phrases() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        caption = draw_scene(rng).caption
        assert named_in(caption.text()) == [phrase.text() for phrase in caption.phrases]
