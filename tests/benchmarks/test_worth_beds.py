"""The harder prompts, and the windows that a reward of few pixels is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sgool.benchmarks.windows import altered
from sgool.benchmarks.worth.hard import HARD_KINDS, draw_hard_prompts, draw_hard_scene, draw_hard_scenes, twin
from sgool.benchmarks.worth.low_resolution import caption_of, draw_subjects
from sgool.benchmarks.worth.prompts import kind_of
from sgool.demo.captions import hard_negatives, held_out, parse
from sgool.demo.judging import Detected, compare, detect
from sgool.demo.loader import load_judge
from sgool.demo.render import render
from sgool.demo.scenes import relation_between


def test_hard_prompts_are_held_out_ask_for_four_and_come_by_kind() -> None:
    few, many = draw_hard_prompts("report", 6), draw_hard_prompts("report", 24)
    captions = [parse(text) for text in many]
    assert many[:6] == few
    assert [kind_of(caption) for caption in captions[:4]] == ["four", "related", "similar", "a pair"] == list(HARD_KINDS)
    assert all(caption.count == 4 and held_out(caption.text()) for caption in captions)
    assert not set(many) & set(draw_hard_prompts("tune", 24))
    assert max(len(text.split()) for text in many) <= 22  # words that the text encoders read


def test_the_judge_holds_on_four_objects() -> None:
    scenes = draw_hard_scenes("tune", 20)
    seen = detect(load_judge(), torch.stack([render(scene) for scene in scenes]))
    assert sum(compare(scene.caption, found).right for scene, found in zip(scenes, seen, strict=True)) >= 19
    related = [scene for scene in scenes if scene.caption.relation]
    assert all(relation_between(*scene.objects[:2]) == scene.caption.relation for scene in related)


@pytest.mark.parametrize("count", [1, 2])
def test_an_altered_scene_is_what_the_wrong_caption_says(count: int) -> None:
    rng = np.random.default_rng(3)
    scene = draw_subjects(rng, count, (5.5, 7.0), keep_held_out=True)
    wrong = hard_negatives(scene.caption, 1, rng, attributes_only=True)[0]
    assert caption_of(altered(scene, wrong).objects, scene.caption.relation) == wrong != scene.caption
    assert (render(scene) != render(altered(scene, wrong))).any(0).float().mean() < 0.2  # the ground is the same


def test_a_twin_differs_in_one_object_and_its_caption_is_true_of_it_alone() -> None:
    rng = np.random.default_rng(5)
    for kind in HARD_KINDS * 20:
        scene = draw_hard_scene(rng, kind)
        other = twin(scene, rng)
        assert not other.caption.may_agree(scene.caption)
        seen = [Detected(o.color, o.shape, o.size, o.x, o.y) for o in other.objects]
        assert compare(other.caption, seen).right
        assert not compare(scene.caption, seen).right
        kept = set(scene.objects) & set(other.objects)
        assert len(kept) == 3
        assert len(other.objects) in (3, 4)
