import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgool.demo.captions import COLORS, SHAPES, WORDS, Caption, Phrase, hard_negatives, held_out, parse
from sgool.demo.judging import Detected, compare
from sgool.demo.scenes import draw_scenes, held_out_prompts

SEEDS = st.integers(0, 2**31)


@given(SEEDS)
def test_every_caption_is_read_back_as_it_was(seed: int) -> None:
    (scene,) = draw_scenes(1, seed)
    assert parse(scene.caption.text()) == scene.caption


@given(SEEDS)
def test_captions_use_only_words_that_the_tokenizer_knows(seed: int) -> None:
    (scene,) = draw_scenes(1, seed, keep_held_out=True)
    assert set(scene.caption.text().split()) <= set(WORDS)


@given(SEEDS)
def test_hard_negatives_differ_from_the_truth(seed: int) -> None:
    (scene,) = draw_scenes(1, seed)
    wrong = hard_negatives(scene.caption, 5, np.random.default_rng(seed))
    assert len(wrong) == 5
    assert all(caption.meaning() != scene.caption.meaning() for caption in wrong)
    seen = [Detected(o.color, o.shape, o.size, o.x, o.y) for o in scene.objects]
    assert compare(scene.caption, seen).right
    assert not any(compare(caption, seen).right for caption in wrong)
    assert all(parse(caption.text()) == caption for caption in wrong if caption.phrases)


@pytest.mark.parametrize(
    ("text", "other", "may"),
    [
        ("a small red ring and a blue ring", "a small blue ring and a red ring", True),  # where both are small
        ("a small red ring and a large blue ring", "a small blue ring and a red ring", False),
        ("a red ring left of a blue ring", "a blue ring right of a red ring", True),
        ("a red ring left of a blue ring", "a red ring above a blue ring", True),
        ("a red ring left of a blue ring", "a red ring right of a blue ring", False),
        ("a red ring left of a blue ring", "a blue ring left of a red ring", False),
        ("a red ring left of a red ring", "a red ring right of a red ring", True),
        ("two red rings left of a blue ring", "two red rings right of a blue ring", True),  # one on each side
        ("two red rings", "a red ring and a small red ring", True),
        ("two red rings", "a red ring", False),
    ],
)
def test_captions_agree_where_one_scene_is_both(text: str, other: str, may: bool) -> None:
    assert parse(text).may_agree(parse(other)) is parse(other).may_agree(parse(text)) is may


def test_order_does_not_change_the_meaning() -> None:
    same = [parse("a red ring and a blue ring"), parse("a blue ring and a red ring")]
    assert same[0].meaning() == same[1].meaning()
    turned = [parse("a red ring left of a blue ring"), parse("a blue ring right of a red ring"), parse("a blue ring left of a red ring")]
    assert turned[0].meaning() == turned[1].meaning() != turned[2].meaning()


def test_held_out_captions_never_occur_in_training_scenes() -> None:
    prompts = held_out_prompts(200)
    assert len(set(prompts)) == 200
    assert all(held_out(prompt) for prompt in prompts)
    assert not any(held_out(scene.caption.text()) for scene in draw_scenes(300, 7))


def test_prompts_may_be_written_freely() -> None:
    expected = Caption((Phrase("orange", "circle"), Phrase("red", "cross", "small", 2)))
    assert parse("An orange circle,  two small RED crosses") == expected


@pytest.mark.parametrize("text", ["", "a dog", "a red circle and a dog", "two red circles and two blue rings and a red ring", "red circle"])
def test_other_prompts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="a small red circle"):
        parse(text)


def test_colors_are_told_apart_by_more_than_their_jitter() -> None:
    values = np.array(list(COLORS.values()), dtype=float)
    distance = np.abs(values[:, None] - values[None]).max(-1) + 1000 * np.eye(len(values))
    assert distance.min() > 2 * 0.035 * 255
    assert len(SHAPES) == 5


def test_attributes_only_keeps_what_is_there_and_where() -> None:
    rng = np.random.default_rng(3)
    caption = parse("a small red circle left of a large blue ring and a pink cross")
    for wrong in hard_negatives(caption, 60, rng, attributes_only=True):
        assert wrong.relation == caption.relation
        assert [p.count for p in wrong.phrases] == [1, 1, 1]
        assert wrong.meaning() != caption.meaning()
