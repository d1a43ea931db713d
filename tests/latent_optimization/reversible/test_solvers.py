"""Each solver beside its published step, and there and back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sgool.latent_optimization.reversible import BDIA, EDICT, OBELM, SOLVERS, McCallumFoster, Solver, invert, run
from sgool.latent_optimization.reversible.chain import end_pair
from sgool.latent_optimization.reversible.expected_error import WORTH_A_WARNING, expected_error
from torch import Tensor

from . import published

VARIANTS = [EDICT(), EDICT(alternate=False), BDIA(), BDIA(0.7), OBELM(), McCallumFoster()]
SCHEDULES = {
    "karras to 0": lambda n: [*[(14.6 ** (1 / 7) + i / (n - 1) * (0.03 ** (1 / 7) - 14.6 ** (1 / 7))) ** 7 for i in range(n)], 0.0],
    "geometric, ends early": lambda n: [14.6 * (0.3 / 14.6) ** (i / n) for i in range(n + 1)],
    "flow": lambda n: [3 * t / (1 + 2 * t) for t in (1 - i / n for i in range(n + 1))],
}


def scales_of(sigmas: list[float]) -> list[float]:
    return [1 / math.sqrt(1 + sigma * sigma) for sigma in sigmas]


def states(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 4, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slope(x: Tensor, sigma: float) -> Tensor:
    """(x - D) / sigma of a smooth denoiser, for any sigma above 0."""
    shrunk = x / (1 + sigma * sigma)
    return (x - shrunk - 0.4 * torch.tanh(2 * shrunk.roll(1, -2) - 0.3) - 0.1) / sigma


def trajectory(solver: Solver, sigmas: list[float], x: Tensor, slope: Callable[[Tensor, float], Tensor]) -> tuple[list[Tensor], Tensor]:
    """The latent at each sigma, and the other state at the end."""
    plan = solver.plan(sigmas, scales_of(sigmas))
    seen = [x]
    pair = run(plan, slope, (x, torch.zeros_like(x)), lambda i, latent: seen.append(latent))
    return seen, pair[1 - plan.newest[-1]]


def published_slope(sigmas: list[float]) -> Callable[[Tensor, float], Tensor]:
    times = {sigma: len(sigmas) - 1 - i for i, sigma in enumerate(sigmas)}
    return lambda x, sigma: published.eps(x / math.sqrt(1 + sigma * sigma), times[sigma])


def assert_same_path(ours: list[Tensor], theirs: list[Tensor], sigmas: list[float]) -> None:
    assert len(ours) == len(theirs) == len(sigmas)
    for x, z, scale in zip(ours, theirs, scales_of(sigmas), strict=True):
        assert float((x * scale - z).abs().max()) <= 1e-6 * float(z.abs().max())
        assert torch.allclose(x * scale, z, rtol=1e-9, atol=1e-9)  # which float64 does far better than


@pytest.mark.parametrize("name", ["karras to 0", "geometric, ends early"])
@pytest.mark.parametrize("solver", [EDICT(), EDICT(alternate=False), EDICT(0.97), BDIA(), BDIA(0.5), OBELM()], ids=str)
def test_the_path_is_the_published_one(solver: Solver, name: str) -> None:
    sigmas = SCHEDULES[name](20)
    x, times = states() * 14.6, published.Times(sigmas)
    ours, other = trajectory(solver, sigmas, x, published_slope(sigmas))
    z = x * scales_of(sigmas)[0]
    if isinstance(solver, EDICT):
        theirs, their_other = published.edict(z, times, solver.mix, solver.alternate)
        assert torch.allclose(other * scales_of(sigmas)[-1], their_other, rtol=1e-9, atol=1e-9)
    elif isinstance(solver, BDIA):
        theirs = published.bdia(z, times, solver.gamma)
    else:
        theirs = published.o_belm(z, times)
    assert_same_path(ours, theirs, sigmas)


def test_mccallum_foster_is_the_published_step_where_no_sigma_is_zero() -> None:
    sigmas = SCHEDULES["geometric, ends early"](20)
    ours, _ = trajectory(McCallumFoster(), sigmas, states() * 14.6, slope)
    theirs = published.mccallum_foster(states() * 14.6, sigmas, 0.999, lambda x, sigma: x - sigma * slope(x, sigma))
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", VARIANTS, ids=str)
def test_there_and_back(solver: Solver, schedule: str) -> None:
    sigmas = SCHEDULES[schedule](10)
    scales = [1.0] * 11 if schedule == "flow" else scales_of(sigmas)
    plan = solver.plan(sigmas, scales)
    start = states() * sigmas[0], states(seed=1) * 0.01
    back = invert(plan, slope, run(plan, slope, start))
    for found, given_ in zip(back, start, strict=True):
        assert float((found - given_).norm()) < 1e-8 * float(start[0].norm())


@pytest.mark.parametrize("solver", VARIANTS, ids=str)
def test_a_given_latent_comes_back(solver: Solver) -> None:
    sigmas = SCHEDULES["karras to 0"](20)
    plan = solver.plan(sigmas, scales_of(sigmas))
    latent = states() * 0.5
    end = end_pair(plan, slope, latent, solver.coupled)
    assert torch.equal(end[plan.newest[-1]], latent)
    back = run(plan, slope, invert(plan, slope, end))
    assert float((back[plan.newest[-1]] - latent).norm()) < 1e-8 * float(latent.norm())


@pytest.mark.parametrize("solver", VARIANTS, ids=str)
def test_more_steps_come_closer_to_the_solution(solver: Solver) -> None:
    """All are consistent with the differential equation: Euler's fine path is where they are heading."""
    x, name = states() * 14.6, "geometric, ends early"
    fine = SCHEDULES[name](2000)
    reference = x
    for sigma, following in itertools.pairwise(fine):
        reference = reference + (following - sigma) * slope(reference, sigma)
    errors = [float((trajectory(solver, SCHEDULES[name](n), x, slope)[0][-1] - reference).norm()) for n in (20, 160)]
    assert errors[1] < errors[0] / 2
    assert errors[1] < 0.05 * float(reference.norm())


@given(count=st.integers(1, 12), top=st.floats(0.5, 100), name=st.sampled_from(sorted(SOLVERS)), batch=st.integers(1, 3))
def test_any_falling_schedule_and_batch(count: int, top: float, name: str, batch: int) -> None:
    sigmas = [top * (1 - i / count) for i in range(count + 1)]
    plan = SOLVERS[name]().plan(sigmas, scales_of(sigmas))
    x = states(batch)
    start = x * top, torch.zeros_like(x)
    end = run(plan, slope, start)
    back = invert(plan, slope, end)
    assert float((back[0] - start[0]).norm()) < 1e-6 * float(start[0].norm())
    alone = run(plan, slope, (start[0][-1:], start[1][-1:]))
    assert torch.allclose(alone[0], end[0][-1:])


def test_the_number_of_model_calls() -> None:
    sigmas = SCHEDULES["karras to 0"](10)
    expected = {"EDICT": 20, "BDIA": 10, "O-BELM": 10, "McCallum-Foster": 20}
    for name, solver in SOLVERS.items():
        made: list[float] = []
        plan = solver().plan(sigmas, scales_of(sigmas))

        def noted(x: Tensor, sigma: float, made: list[float] = made) -> Tensor:
            made.append(sigma)
            return slope(x, sigma)

        run(plan, noted, (states(), states() * 0))
        assert len(made) == plan.calls == expected[name]
        assert min(made) > 0


@pytest.mark.parametrize("solver", VARIANTS, ids=str)
@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([3.0, 2.0, 2.0, 0.0], "same sigma twice .2, then 2, step 2"),
        ([3.0, 0.0, 0.0], "same sigma twice"),
        ([1.0, 2.0, 0.0], "a sigma that rises"),
        ([1.0, -1.0], "negative or not finite"),
        ([math.inf, 1.0], "negative or not finite"),
        ([1.0], "at least two"),
        ([], "at least two"),
    ],
)
def test_schedules_that_cannot_be_run_backwards_are_refused(solver: Solver, sigmas: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solver.plan(sigmas, [1.0] * len(sigmas))


@pytest.mark.parametrize(
    "make", [lambda: EDICT(0.0), lambda: EDICT(1.1), lambda: BDIA(0.0), lambda: BDIA(-1.0), lambda: McCallumFoster(0.0)]
)
def test_parameters_that_would_divide_by_zero_are_refused(make: Callable[[], Solver]) -> None:
    with pytest.raises(ValueError, match="has to be above 0 and at most 1"):
        make()


@pytest.mark.parametrize("count", [10, 50])
@pytest.mark.parametrize("solver", [*VARIANTS, BDIA(0.9), EDICT(0.9)], ids=str)
def test_the_expected_error_is_of_the_order_of_the_measured_one(solver: Solver, count: int) -> None:
    sigmas = SCHEDULES["karras to 0"](count)
    plan = solver.plan(sigmas, scales_of(sigmas))
    start = (states() * 14.6).float(), states().float() * 0
    back = invert(plan, slope, run(plan, slope, start))
    measured = float((back[0] - start[0]).norm() / start[0].norm())
    assert measured / 10 < expected_error(plan, torch.float32) < 15 * measured


def test_settings_that_invert_badly_are_known_before() -> None:
    sigmas = SCHEDULES["karras to 0"](50)
    scales = scales_of(sigmas)
    for solver in (EDICT(), BDIA(), OBELM(), McCallumFoster()):
        assert expected_error(solver.plan(sigmas, scales), torch.float32) < WORTH_A_WARNING
        assert expected_error(solver.plan(sigmas, scales), torch.float64) < 1e-10
    assert expected_error(BDIA(0.7).plan(sigmas, scales), torch.float32) > 0.1
