"""The benchmark's own running of methods on the demo model, in a real ComfyUI."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sgool.benchmarks.worth import segmenter
from sgool.benchmarks.worth.discrimination import MAPS, area, discrimination_table
from sgool.benchmarks.worth.methods import CONTENDERS, IMPROVEMENTS, PROCEDURES, SALIENCY, Method, best_of, gradient
from sgool.benchmarks.worth.prompts import draw_prompts
from sgool.benchmarks.worth.results import Results
from sgool.benchmarks.worth.segmenter import load_segmenter
from sgool.benchmarks.worth.worker import Worker, random_map
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule

pytestmark = pytest.mark.comfyui
PROMPTS = draw_prompts("tune", 4)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    return Worker(tmp_path_factory.mktemp("worth"))


def quick(method: Method, **settings: object) -> Method:
    return replace(method, steps=2, settings=replace(method.settings, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [Method(steps=2), quick(best_of(3)), quick(gradient(), iterations=2), Method(steps=2, zero_order=2)])
def test_a_prompt_comes_out_the_same_in_any_chunk(worker: Worker, method: Method) -> None:
    rows, images = worker.run(method, PROMPTS, 0)
    again, others = worker.run(method, PROMPTS[2:], 2)
    assert [row["prompt"] for row in rows[2:]] == [row["prompt"] for row in again]
    assert np.abs(images[2:].astype(int) - others.astype(int)).max() <= 1  # batches of other sizes round differently


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [
        (Method(steps=2), 2),
        (quick(best_of(3)), 6),
        (quick(gradient(), iterations=2), 2 * 6 + 2),
        (quick(gradient(), iterations=2, jacobian=JacobianSchedule("last", 1)), 2 * 4 + 2),
        (Method(steps=2, zero_order=2), 6),
        (Method(steps=2, sampler="EDICT"), 4),
        (quick(PROCEDURES["DOODL, the whole procedure"], iterations=2), 2 * 12 + 4),
    ],
)
def test_a_backward_counts_two(worker: Worker, method: Method, evaluations: int) -> None:
    rows, _ = worker.run(method, PROMPTS[:1], 0)
    assert rows[0]["evaluations"] == evaluations
    assert len(rows[0]["path"]) == (2 if method.settings.iterations else 0)


def test_every_trial_and_a_map_change_the_step(worker: Worker) -> None:
    named = (
        "near misses",
        "attention inside the encoder, random",
        "whitened gradient",
        "coarse to fine",
        "all iterates anew, 7 augmentations",
        "light augmentations, all iterates anew",
    )
    methods = [gradient(), SALIENCY["map: random (control)"], *(IMPROVEMENTS[name].method for name in named)]
    images = [worker.run(quick(m, iterations=2, best_of=1, returned="last"), PROMPTS[:1], 0)[1].tobytes() for m in methods]
    assert len(set(images)) == len(methods)


def test_the_scorer_is_held_to_pairs_of_one_prompt(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert area(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([True, False, True])) == 1.0
    assert area(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([True, False, True])) == 0.25
    results = Results(tmp_path, "tune", "w")
    rows, images = worker.run(Method(steps=4), PROMPTS[:2], 0)
    for method, right in (("a", True), ("b", False)):
        results.add(method, 0, [{**row, "right": right} for row in rows], images if right else 255 - images)
    monkeypatch.setattr(segmenter, "SCHEDULE", replace(segmenter.SCHEDULE, steps=2))
    load_segmenter(worker.folder)
    lines = discrimination_table(results, worker).splitlines()
    assert lines[2].startswith("| whole image | ")
    assert all(line.endswith("| 2 |") for line in lines[2:])
    assert len(lines) == 2 + 1 + 2 * len(MAPS) * 3


def test_methods_are_told_apart_by_what_they_are() -> None:
    methods = [*CONTENDERS.values(), *SALIENCY.values()]
    assert len({m.fingerprint() for m in methods}) == len(methods) - 1  # "gradient and saliency" is "map: default"
    assert Method().fingerprint() == Method().fingerprint()


def test_a_random_map_covers_its_range() -> None:
    map_ = random_map(7)
    assert map_.shape == (1, 1, 64, 64)
    assert map_.min() == 0
    assert map_.max() == 1
    assert torch.equal(map_, random_map(7))
