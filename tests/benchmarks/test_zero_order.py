"""The search without gradients, against scores that can be worked out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sgool.benchmarks.worth.demo_model import Demo
from sgool.benchmarks.worth.methods import Method
from sgool.benchmarks.worth.prompts import draw_prompts
from sgool.benchmarks.worth.zero_order import ZeroOrder, draw, neighbor
from torch import Tensor

from ..latent_optimization.toy import normal

pytestmark = pytest.mark.comfyui


def generators(n: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + number) for number in range(n)]


def test_a_neighbor_has_the_noises_norm_and_the_cosine_to_it() -> None:
    noise, fresh = normal(3, 4, 5, 5), normal(3, 4, 5, 5, seed=1)
    near = neighbor(noise, fresh, 0.95)
    flat, other = near.flatten(1), noise.flatten(1)
    assert torch.allclose(flat.norm(dim=1), other.norm(dim=1))
    assert torch.cosine_similarity(flat, other).tolist() == pytest.approx([0.95] * 3, abs=1e-5)
    three = torch.stack([each.flatten(1) for each in (noise, fresh, near)], dim=1)
    assert torch.linalg.svdvals(three)[:, 2].abs().max() < 1e-4  # in the plane of the two
    assert (torch.cosine_similarity(flat, fresh.flatten(1)) > torch.cosine_similarity(other, fresh.flatten(1))).all()


class Seen:
    """The image is the noise itself and its score its first number; what was asked is kept."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def __call__(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(noise)
        return noise, noise[:, 0, 0, 0]


def test_the_best_of_all_that_was_sampled_is_returned_for_each_image() -> None:
    noise, see, search = normal(2, 3, 2, 2), Seen(), ZeroOrder(start=3, rounds=5)
    found = search.best(noise, see, generators(2))
    assert len(see.asked) == search.noises == 23
    every = torch.stack(see.asked)
    best = every[:, :, 0, 0, 0].argmax(dim=0)
    assert torch.equal(found, torch.stack([every[best[image], image] for image in range(2)]))
    assert torch.equal(see.asked[0], noise)


def test_neighbors_are_of_the_best_before_the_round() -> None:
    see = Seen()
    ZeroOrder(start=1, rounds=3).best(normal(1, 3, 4, 4), see, generators(1))
    for first in (1, 5, 9):
        before = torch.cat(see.asked[:first])
        pivot = before[before[:, 0, 0, 0].argmax()].flatten()
        for near in see.asked[first : first + 4]:
            assert float(torch.cosine_similarity(near.flatten(), pivot, dim=0)) == pytest.approx(0.95, abs=1e-5)


def test_an_image_does_not_depend_on_those_beside_it() -> None:
    noise = normal(2, 3, 2, 2)
    both = ZeroOrder(2, 2).best(noise, Seen(), generators(2))
    alone = ZeroOrder(2, 2).best(noise[1:], Seen(), generators(2)[1:])
    assert torch.equal(both[1:], alone)
    assert draw(noise, generators(2)).shape == noise.shape


def test_on_the_demo_model_it_returns_the_best_that_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo, prompts, seen = Demo(tmp_path), draw_prompts("tune", 1), list[float]()
    images = demo.images

    def watched(*args: object) -> Tensor:
        found = images(*args)  # type: ignore[arg-type]
        seen.extend(demo.reward(found, prompts).tolist())
        return found

    monkeypatch.setattr(demo, "images", watched)
    rows, _ = demo.run(Method(steps=2, zero_order=ZeroOrder(2, 1)), prompts, 5, demo.noise(prompts, 0))
    assert len(seen) == 6
    assert rows[0]["similarity"] == pytest.approx(max(seen), abs=1e-6)
