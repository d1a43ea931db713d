"""The white projection against a second transcription of its definition: NumPy's transform, blocks in a loop, thresholds by bisection."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.update_rules.adam import AdamUpdate
from sgool.latent_optimization.white_projection import project_white

from .toy import Quadratic, linear_sampler, normal

SHAPES = [(2, 4, 8, 8), (1, 16, 4, 4), (1, 3, 5, 7), (2, 16, 2, 3, 4), (1, 1, 1, 3, 3), (3, 2, 3, 3), (1, 128, 2, 2), (1, 1, 2, 2)]


def compact(signal: np.ndarray) -> np.ndarray:
    """The independent coefficients of a row of even length, out of the whole transform."""
    spectrum = np.fft.fft(signal) / math.sqrt(len(signal))
    half = len(signal) // 2
    return np.concatenate([[(spectrum[0].real + 1j * spectrum[half].real) / math.sqrt(2)], spectrum[1:half]])


def blocks_of(coefficients: np.ndarray, size: int = 16) -> list[np.ndarray]:
    """Blocks of 16; what is left over goes to the last."""
    starts = list(range(0, max(1, len(coefficients) // size) * size, size))
    return [coefficients[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def nearest(block: np.ndarray) -> np.ndarray:
    """The nearest block of sum sqrt(pi) / 2 n and sum of squares n, by bisection for the threshold."""
    n, a = len(block), np.abs(block)
    low, high = -1e6 * a.max(), a.max()
    for _ in range(300):
        t = (low + high) / 2
        raised = np.maximum(a - t, 0)
        # The larger the threshold, the fewer are left and the smaller the squared sum over the sum of squares.
        if raised.sum() ** 2 / (raised**2).sum() > math.pi / 4 * n:
            low = t
        else:
            high = t
    raised = np.maximum(a - low, 0)
    return raised * math.sqrt(n / (raised**2).sum()) * block / a


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if math.prod(shape[1:]) % 2 == 0])
@pytest.mark.parametrize("power", [0.0, -1.0, 1.5])  # white, like an image's spectrum, and rising
def test_it_is_the_nearest_point_block_by_block(shape: tuple[int, ...], power: float) -> None:
    x = normal(*shape)
    ramp = torch.linspace(1, 9, math.prod(shape[1:]), dtype=torch.float64) ** power
    x = torch.fft.irfft(torch.fft.rfft(x.flatten(1)) * ramp[: math.prod(shape[1:]) // 2 + 1], n=math.prod(shape[1:])).reshape(shape)
    found = project_white(x)
    for one, projected in zip(x.flatten(1).numpy(), found.flatten(1).numpy(), strict=True):
        expected = np.concatenate([nearest(block) for block in blocks_of(compact(one))])
        assert np.abs(compact(projected) - expected).max() < 1e-9


@examples(max_examples=40, deadline=None)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 999), scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e6]))
def test_blocks_have_the_sums_of_white_noise_whatever_the_shape_and_scale(shape: tuple[int, ...], seed: int, scale: float) -> None:
    x = normal(*shape, seed=seed)
    found = project_white(scale * x)
    assert found.shape == x.shape
    assert torch.allclose(found, project_white(x), atol=1e-9)
    assert torch.allclose(project_white(found), found, atol=1e-7)  # it is there already
    elements = math.prod(shape[1:])
    assert found.flatten(1).square().sum(1).tolist() == pytest.approx([elements] * shape[0])
    for one in found.flatten(1).numpy() if elements % 2 == 0 else []:
        for block in blocks_of(compact(one)):
            assert np.abs(block).sum() == pytest.approx(math.sqrt(math.pi) / 2 * len(block))
            assert (np.abs(block) ** 2).sum() == pytest.approx(len(block))


def test_white_noise_lies_close_to_it() -> None:
    """The paper reports cosines of at least .988 for noise of 65536 elements."""
    x = normal(4, 16, 64, 64, dtype=torch.float32)
    cosines = torch.nn.functional.cosine_similarity(x.flatten(1), project_white(x).flatten(1))
    assert float(cosines.min()) > 0.988
    assert float(cosines.max()) < 1


def test_one_frequency_cannot_stand_out() -> None:
    wave = torch.sin(torch.arange(1024.0) * 2 * math.pi / 64).reshape(1, 1, 32, 32) + 1e-3 * normal(1, 1, 32, 32, dtype=torch.float32)
    spectrum = torch.fft.rfft(project_white(wave).flatten(), norm="ortho").abs().square()
    assert 7 < float(spectrum.max()) < 7.3  # the paper: at most about 7.18


def test_images_do_not_see_each_other_and_zeros_stay() -> None:
    x = normal(3, 4, 4, 4, dtype=torch.float32)
    x[1] = 0
    found = project_white(x)
    assert torch.equal(found[1], x[1])
    assert torch.allclose(found[2:], project_white(x[2:]), atol=1e-6)
    level = project_white(torch.ones(1, 1, 8, 8))  # one coefficient and many zeros: no point is nearest, and one is taken
    assert bool(torch.isfinite(level).all())
    assert float(level.square().sum()) == pytest.approx(64, rel=1e-4)
    assert project_white(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("shape", "block"), [((1, 3), 16), ((1, 8), 1)])
def test_what_has_no_spectrum_is_refused(shape: tuple[int, ...], block: int) -> None:
    with pytest.raises(ValueError, match="White noise needs at least 4 elements and blocks of 2"):
        project_white(torch.ones(shape), block)


def test_the_optimizer_takes_white_gradients_and_keeps_noise_white() -> None:
    noise, objective = normal(2, 4, 4, 4), Quadratic(normal(2, 4, 4, 4, seed=1))
    settings = Settings(iterations=3, rule=AdamUpdate(step_size=0.1), precondition="white", renormalize="none")
    result = optimize(noise, linear_sampler(), objective, settings)
    x, adam = noise, AdamUpdate(step_size=0.1)
    state = adam.start(x)
    for _ in range(3):
        gradient = 2 * 2 * (2 * x + 0.25 - objective.target) / 64
        step, state = adam.step(project_white(gradient), state, lambda: noise)
        x = x + step
    assert torch.allclose(result.noise, x, atol=1e-9)
    assert result.history.rows[-1].loss < result.history.rows[0].loss
    kept = optimize(noise, linear_sampler(), objective, Settings(iterations=2, renormalize="white")).noise
    assert torch.allclose(project_white(kept), kept, atol=1e-7)
    assert torch.equal(optimize(noise, linear_sampler(), objective, Settings(iterations=0, renormalize="white")).noise, noise)
