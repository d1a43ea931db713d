"""What a search may replace, and by what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sgool.latent_optimization.optimize import Result, optimize
from sgool.latent_optimization.random_streams import streams_for
from sgool.latent_optimization.settings import Settings
from torch import Tensor

from .toy import Quadratic, linear_sampler, normal

SHAPE = (2, 4, 8, 8)
SEARCH = Settings(iterations=0, best_of=6)


def tried(noise: Tensor, seed: int = 0) -> tuple[Result, list[Tensor]]:
    batches: list[Tensor] = []

    def generate(x: Tensor) -> Tensor:
        batches.append(x.clone())
        return linear_sampler()(x)

    return optimize(noise, generate, Quadratic(normal(*noise.shape, seed=99)), SEARCH, seed=seed), batches


@given(seed=st.integers(0, 2**64 - 1), apart=st.integers(1, 3))
def test_neighboring_seeds_share_nothing(seed: int, apart: int) -> None:
    noise = normal(3, 5)
    drawn: set[float] = set()
    for own in (seed, seed + apart):
        for streams in streams_for(noise, own):
            drawn |= {float(torch.rand(1, generator=generator)) for generator in vars(streams).values()}
    assert len(drawn) == 2 * 3 * 5


def test_candidates_of_neighboring_images_and_seeds_are_all_different() -> None:
    noise = normal(*SHAPE)
    candidates = [image for seed in (7, 8) for batch in tried(noise, seed)[1][1:] for image in batch]
    assert len({image.numpy().tobytes() for image in candidates}) == len(candidates) == 2 * 5 * 2


def test_candidates_are_white_noise_of_the_given_noises_scale() -> None:
    _, batches = tried(torch.cat([normal(1, 4, 32, 32), 0.5 * normal(1, 4, 32, 32, seed=1)]))
    deviations = torch.stack(batches[1:]).flatten(2).std(dim=2)
    assert deviations.tolist() == [[pytest.approx(1, rel=0.05), pytest.approx(0.5, rel=0.05)]] * 5
    _, ordinary = tried(normal(1, 4, 32, 32, seed=2))
    fresh = torch.randn((4, 32, 32), generator=streams_for(normal(1, 4, 32, 32, seed=2), 0)[0].candidates).double()
    assert torch.equal(ordinary[1][0], fresh)  # not scaled to the last digit of what happens to be the noise's norm


def test_no_noise_is_added_where_none_was_given() -> None:
    result, batches = tried(torch.cat([normal(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)]))
    assert all(not batch[1].any() for batch in batches)
    assert len({batch[0].numpy().tobytes() for batch in batches}) == 6
    assert result.messages == ["Image 2: it was given no noise (Disable Noise), so no other noises were tried."]
    result, batches = tried(torch.zeros(2, 4, 8, 8))
    assert len(batches) == 1  # nothing to search, so nothing is spent on it
    assert result.history.started_from == [0, 0]


def test_noise_that_was_made_on_purpose_is_kept() -> None:
    ramp = normal(1, 4, 32, 32) + torch.linspace(-1, 1, 32)
    result, _ = tried(ramp)
    assert torch.equal(result.noise, ramp)
    assert "Image 1: its noise is not white" in result.messages[0]


@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(1, 4, 8, 8), (1, 16, 4, 4), (1, 128, 2, 2), (1, 4, 64, 64), (1, 16, 3, 8, 8)]))
def test_ordinary_noise_is_searched(seed: int, shape: tuple[int, ...]) -> None:
    result, _ = tried(normal(*shape, seed=seed, dtype=torch.float32))
    assert result.messages == []
