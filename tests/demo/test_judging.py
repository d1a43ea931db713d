import pytest
import torch
from sgool.demo.architecture import JUDGE_CHANNELS
from sgool.demo.captions import COLOR_NAMES, SHAPES, SIZES, parse
from sgool.demo.judging import Detected, compare, detect, judge_images


def seen(text: str, x: float = 32.0, y: float = 32.0) -> Detected:
    size, color, shape = text.split()
    return Detected(color, shape, size, x, y)


class Oracle(torch.nn.Module):
    """Answers with fixed logits: the objects it was given, wherever it looks."""

    def __init__(self, objects: list[tuple[str, int, int]]) -> None:
        super().__init__()
        self.objects = objects

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = torch.full((len(images), sum(JUDGE_CHANNELS.values()), 16, 16), -8.0)
        starts = dict(zip(JUDGE_CHANNELS, torch.tensor([0, *JUDGE_CHANNELS.values()]).cumsum(0).tolist(), strict=False))
        out[:, starts["offset"] :] = 0.25
        for text, row, column in self.objects:
            size, color, shape = text.split()
            out[:, starts["center"], row, column] = 4
            out[:, starts["color"] + COLOR_NAMES.index(color), row, column] = 4
            out[:, starts["shape"] + SHAPES.index(shape), row, column] = 4
            out[:, starts["size"] + SIZES.index(size), row, column] = 4
        return out


def test_detect_reads_classes_and_places() -> None:
    (found,) = detect(Oracle([("small red ring", 2, 3), ("large blue cross", 10, 12)]), torch.zeros(1, 3, 64, 64))
    assert [(o.size, o.color, o.shape) for o in found] == [("small", "red", "ring"), ("large", "blue", "cross")]
    assert (found[0].x, found[0].y) == (15.0, 11.0)


def test_relation_holds_for_the_objects_that_the_prompt_means() -> None:
    caption = parse("a red ring left of a blue cross")
    left, right = seen("small red ring", x=10), seen("small blue cross", x=40)
    assert compare(caption, [right, left]).right
    turned = compare(caption, [seen("small red ring", x=40), seen("small blue cross", x=10)])
    assert (turned.objects, turned.count, turned.relation) == (True, True, False)


def test_sizes_matter_only_where_they_are_named() -> None:
    assert compare(parse("a red ring"), [seen("medium red ring")]).right
    assert not compare(parse("a large red ring"), [seen("medium red ring")]).objects


def test_one_too_many_is_a_wrong_count_but_right_objects() -> None:
    verdict = compare(parse("two red rings"), [seen("small red ring")] * 3)
    assert (verdict.objects, verdict.count, verdict.right) == (True, False, False)


def test_nothing_seen_is_wrong() -> None:
    assert not compare(parse("a red ring"), []).right


def test_numbers_of_prompts_and_images_have_to_match() -> None:
    with pytest.raises(ValueError, match="3 images and 2 prompts"):
        judge_images(Oracle([]), torch.zeros(3, 3, 64, 64), ["a red ring"] * 2)
