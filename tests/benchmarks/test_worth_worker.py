"""The benchmark's own running of methods on the demo model, in a real ComfyUI."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sgool.benchmarks.common.jobs import Job
from sgool.benchmarks.worth import segmenter
from sgool.benchmarks.worth.methods import FEW_STEPS, GROUPS, PROCEDURES, SALIENCY, Method, best_of, gradient
from sgool.benchmarks.worth.prompts import draw_prompts
from sgool.benchmarks.worth.worker import Demo, DemoOwner, images_of, random_map
from sgool.benchmarks.worth.zero_order import ZeroOrder

pytestmark = pytest.mark.comfyui
PROMPTS = draw_prompts("tune", 2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("worth"))


def quick(method: Method, **settings: object) -> Method:
    preset = replace(method.preset, settings=replace(method.preset.settings, **settings))  # type: ignore[arg-type]
    return replace(method, steps=2, preset=preset)


@pytest.mark.parametrize(
    ("method", "calls", "gradients"),
    [
        (Method(steps=2), 2, 0),
        (quick(best_of(3)), 6, 0),
        (quick(gradient(), iterations=2), 3 * 2, 2),
        (Method(steps=2, sampler="EDICT"), 4, 0),
        (quick(PROCEDURES["DOODL, the whole procedure"], iterations=2), 3 * 4, 2),
        (Method(steps=2, zero_order=ZeroOrder(1, 2)), 9 * 2, 0),
    ],
)
def test_what_a_method_costs_is_what_the_sampler_counted(demo: Demo, method: Method, calls: int, gradients: int) -> None:
    rows, images = demo.run(method, PROMPTS[:1], 5)
    assert (rows[0]["calls"], rows[0]["gradients"]) == (calls, gradients)
    assert np.array_equal(images, demo.run(method, PROMPTS[:1], 5)[1])  # seeds decide everything
    if method.preset.settings.best_of == 1:  # a search may find the same fresh noise
        assert not np.array_equal(images, demo.run(method, PROMPTS[:1], 5, 1)[1])


def test_four_steps_are_made_with_the_lora(demo: Demo) -> None:
    with_lora = FEW_STEPS["4 steps, plain"]
    rows, images = demo.run(with_lora, PROMPTS[:1], 0)
    assert rows[0]["calls"] == 4
    assert not np.array_equal(images, demo.run(replace(with_lora, few_steps=False), PROMPTS[:1], 0)[1])


def test_a_search_without_gradients_returns_the_best_that_it_saw(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    method, seen, images = Method(steps=2, zero_order=ZeroOrder(2, 1)), list[float](), demo.images

    def watched(*args: object) -> torch.Tensor:
        found = images(*args)  # type: ignore[arg-type]
        seen.extend(demo.reward(found, PROMPTS[:1]).tolist())
        return found

    monkeypatch.setattr(demo, "images", watched)
    rows, _ = demo.run(method, PROMPTS[:1], 5)
    assert len(seen) == 6
    assert rows[0]["similarity"] == pytest.approx(max(seen), abs=1e-6)


def test_a_map_changes_the_step(demo: Demo) -> None:
    methods = [gradient(), SALIENCY["map: random (control)"], SALIENCY["map: random, multiplied"]]
    images = [demo.run(quick(method, iterations=2, returned="last"), PROMPTS[:1], 0)[1].tobytes() for method in methods]
    assert len(set(images)) == len(methods)


def test_a_jobs_images_are_kept_as_one_strip(demo: Demo, tmp_path: Path) -> None:
    owner = DemoOwner(partial(images_of, {"m": Method(steps=4)}), tmp_path)
    owner.demo = demo
    record = owner.do(job := Job(0, 0, tuple(PROMPTS), "m"))
    expected = demo.run(Method(steps=4), PROMPTS, job.seed)[1]
    (strip,) = record["files"].values()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(strip))), np.concatenate(list(expected.transpose(0, 2, 3, 1)), axis=1))


def test_the_segmenter_is_a_map_from_images(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "SCHEDULE", replace(segmenter.SCHEDULE, steps=2))
    _, images = demo.run(quick(SALIENCY["map: segmenter (upper bound)"], iterations=1), PROMPTS[:1], 0)
    assert images.shape == (1, 3, 64, 64)


def test_methods_are_told_apart_by_what_they_are() -> None:
    for group in GROUPS.values():
        assert len({method.fingerprint() for method in group.values()}) == len(group)
    assert Method().fingerprint() == Method().fingerprint()


def test_a_random_map_covers_its_range() -> None:
    map_ = random_map(7)
    assert map_.shape == (1, 1, 64, 64)
    assert map_.min() == 0
    assert map_.max() == 1
    assert torch.equal(map_, random_map(7))
