"""The loop on problems small enough to know the answer of."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sgool.latent_optimization.optimize import Result, optimize
from sgool.latent_optimization.presets import PRESETS
from sgool.latent_optimization.recorder import Progress, Recorder
from sgool.latent_optimization.regularizers import WhiteNoise
from sgool.latent_optimization.settings import Settings, Stopping
from sgool.latent_optimization.update_rules.adam import AdamUpdate
from sgool.latent_optimization.update_rules.doodl import DOODLUpdate
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient
from torch import Tensor

from .toy import Quadratic, linear_sampler, normal

VARIANTS = {
    "normalized": Settings(iterations=4),
    "doodl": Settings(iterations=4, rule=DOODLUpdate(clip=0.1)),
    "adam": Settings(iterations=4, rule=AdamUpdate(0.1), renormalize="shell"),
    "regularized": Settings(iterations=4, regularizer=WhiteNoise(), renormalize="none"),
    "best of": Settings(iterations=3, best_of=3, returned="best"),
    "rescored": Settings(iterations=3, returned="rescored", rescoring_augmentations=2, rescoring_candidates=3),
    "early stop": Settings(iterations=8, stopping=Stopping(patience=1, min_improvement=0.4, target_loss=4.6), rule=NormalizedGradient(0.3)),
}


@pytest.mark.parametrize("ambient", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_lowers_the_loss_whatever_the_grad_mode_around_it(name: str, ambient: Callable[[], Any]) -> None:
    with ambient():
        result = optimize(normal(2, 3, 4, 4), linear_sampler(), Quadratic(normal(2, 3, 4, 4, seed=1)), PRESETS[name].settings)
    for image in range(2):
        curve = result.history.losses(image)
        assert len(curve) == PRESETS[name].settings.iterations + 1
        assert curve[-1][1] < curve[0][1]
    assert not result.noise.requires_grad
    assert not result.latent.requires_grad


@pytest.mark.parametrize("objective", [None, Quadratic(normal(2, 3, 4, 4, dtype=torch.float32))])
def test_zero_iterations_sample_once_and_exactly(objective: Quadratic | None) -> None:
    noise, calls = normal(2, 3, 4, 4, dtype=torch.float32), []

    def generate(x: Tensor) -> Tensor:
        calls.append((torch.is_grad_enabled(), x.requires_grad))
        return torch.sin(3 * x)

    result = optimize(noise, generate, objective, Settings(iterations=0))
    assert calls == [(False, False)]
    assert torch.equal(result.latent, torch.sin(3 * noise))
    assert torch.equal(result.noise, noise)
    assert len(result.history.rows) == 1
    assert result.history.cost.evaluations == (0 if objective is None else 2)
    assert result.history.returned_iteration == [0, 0]
    assert all(math.isnan(loss) for loss in result.history.rows[0].loss) is (objective is None)
    assert result.messages == []


def test_a_sampler_may_write_into_its_noise() -> None:
    def careless(x: Tensor) -> Tensor:
        return x.mul_(2).add_(0.25)

    noise = normal(2, 3, 4)
    target = Quadratic(normal(2, 3, 4, seed=1))
    for settings in (VARIANTS["normalized"], Settings(iterations=0)):
        mine, theirs = noise.clone(), noise.clone()
        result = optimize(theirs, careless, target, settings)
        assert torch.equal(theirs, mine)
        assert torch.equal(result.noise, optimize(mine, linear_sampler(), target, settings).noise)


def run(noise: Tensor, target: Tensor, seed: int, settings: Settings, told: Callable[[Progress], None] | None = None) -> Result:
    return optimize(noise, linear_sampler(), Quadratic(target, 0.05), settings, seed=seed, recorder=Recorder(told))


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from([(3, 5), (2, 4, 7), (3, 4, 3, 5), (2, 2, 2, 3, 4)]),
    name=st.sampled_from(list(VARIANTS)),
    seed=st.integers(0, 50),
)
def test_a_image_of_a_batch_is_what_it_is_alone(shape: tuple[int, ...], name: str, seed: int) -> None:
    noise, target = normal(*shape, seed=seed), normal(*shape, seed=seed + 1)
    batch = run(noise, target, seed, VARIANTS[name])
    for index in range(shape[0]):
        alone = run(noise[index : index + 1], target[index : index + 1], seed, VARIANTS[name])
        assert torch.allclose(batch.noise[index], alone.noise[0], rtol=1e-12, atol=1e-14)
        assert torch.allclose(batch.latent[index], alone.latent[0], rtol=1e-12, atol=1e-14)
        assert batch.history.returned_iteration[index] == alone.history.returned_iteration[0]
        assert batch.history.stopped[index] == alone.history.stopped[0]
        assert [loss for _, loss in batch.history.losses(index)] == pytest.approx([loss for _, loss in alone.history.losses(0)], rel=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_seeds_give_the_same_bits_and_nobody_elses_are_drawn(name: str) -> None:
    noise, target, state = normal(2, 4, 5), normal(2, 4, 5, seed=1), torch.get_rng_state()
    first = optimize(noise, linear_sampler(), Quadratic(target, 0.3), VARIANTS[name], seed=5)
    torch.randn(3)
    second = optimize(noise, linear_sampler(), Quadratic(target, 0.3), VARIANTS[name], seed=5)
    torch.set_rng_state(state)
    optimize(noise, linear_sampler(), Quadratic(target, 0.3), VARIANTS[name])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.noise, second.noise)
    assert torch.equal(first.latent, second.latent)
    other = optimize(noise, linear_sampler(), Quadratic(target, 0.3), VARIANTS[name], seed=6)
    assert [row.loss for row in first.history.rows] != [row.loss for row in other.history.rows]


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "early stop"])
def test_the_noise_returned_makes_the_latent_returned_and_costs_are_counted(name: str) -> None:
    settings, runs, backwards, evaluations = VARIANTS[name], [], [], Quadratic(normal(2, 3, 4, seed=1), 0.1)

    def generate(x: Tensor) -> Tensor:
        runs.append(1)
        latent = linear_sampler()(x)
        if latent.requires_grad:
            latent.register_hook(lambda gradient: backwards.append(1))
        return latent

    told: list[Progress] = []
    noise = normal(2, 3, 4)
    result = optimize(noise, generate, evaluations, settings, recorder=Recorder(told.append, lambda: 7 * len(runs)))
    cost = result.history.cost
    assert torch.equal(linear_sampler()(result.noise), result.latent)
    assert (cost.sampler_runs, cost.sampler_backwards, cost.evaluations) == (len(runs), len(backwards), len(evaluations.calls))
    assert cost.model_calls == 7 * len(runs)
    searches = settings.best_of if settings.best_of > 1 else 0
    assert len(runs) == searches + settings.iterations + 1
    assert len(backwards) == settings.iterations
    phases = [progress.phase for progress in told]
    assert phases == ["search"] * searches + ["optimize"] * (settings.iterations + 1) + ["rescore"] * len(result.history.rescored)
    iterations = [progress.iteration for progress in told if progress.phase == "optimize"]
    assert iterations == list(range(settings.iterations + 1))
    recorded = [each.cost.sampler_runs for each in (*result.history.candidates, *result.history.rows)]
    assert recorded == list(range(1, len(runs) + 1))


class _Interrupt(BaseException):
    """As ComfyUI's: not an Exception."""


class _Saved:
    """Stands for a tensor saved for backward: it lives as long as its graph."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class _Graphs:
    """Knows which graphs are alive: the sampler's, the objective's."""

    def __init__(self) -> None:
        self.where = ""
        self.saved: dict[str, weakref.WeakSet[_Saved]] = {"sampler": weakref.WeakSet(), "objective": weakref.WeakSet()}

    def alive(self) -> tuple[bool, bool]:
        return len(self.saved["sampler"]) > 0, len(self.saved["objective"]) > 0

    def pack(self, tensor: Tensor) -> _Saved:
        saved = _Saved(tensor.detach())  # else an operation that saves its own result would keep itself alive
        self.saved[self.where].add(saved)
        return saved

    def watch(self, where: str, function: Callable[..., Any], expected: tuple[bool, bool]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            assert self.alive() == expected, where
            self.where = where
            with torch.autograd.graph.saved_tensors_hooks(self.pack, lambda saved: saved.tensor):
                return function(*args)

        return watched


def test_no_second_graph_is_ever_alive() -> None:
    graphs, seen = _Graphs(), []

    def sampler(x: Tensor) -> Tensor:
        latent = x.sin() * x.exp()
        if latent.requires_grad:
            latent.register_hook(lambda gradient: seen.append(graphs.alive()))
        return latent

    objective = graphs.watch("objective", Quadratic(normal(1, 3, 4, seed=1)), (True, False))

    def evaluate(latent: Tensor, index: int, iteration: int, generator: Any) -> Any:
        return objective(latent, index, iteration, generator) if latent.requires_grad else Quadratic(normal(1, 3, 4))(latent, 0, 0, None)

    def told(progress: Progress) -> None:
        assert graphs.alive() == (False, False)

    optimize(normal(1, 3, 4), graphs.watch("sampler", sampler, (False, False)), evaluate, Settings(iterations=3), recorder=Recorder(told))
    assert seen == [(True, False)] * 3  # when the sampler's backward begins, the objective's graph is gone
    assert graphs.alive() == (False, False)


@pytest.mark.parametrize("at", ["search", "optimize", "rescore"])
def test_what_the_callback_raises_passes_through_and_the_next_run_is_right(at: str) -> None:
    settings = Settings(iterations=3, best_of=2, returned="rescored")
    noise, target, expected = normal(2, 3, 4), normal(2, 3, 4, seed=1), torch.is_grad_enabled()

    def cancel(progress: Progress) -> None:
        if progress.phase == at and progress.iteration >= 1:
            raise _Interrupt

    before = run(noise, target, 1, settings)
    with pytest.raises(_Interrupt):
        run(noise, target, 1, settings, cancel)
    assert torch.is_grad_enabled() is expected
    assert not torch.is_inference_mode_enabled()
    assert torch.equal(run(noise, target, 1, settings).noise, before.noise)


def test_the_objective_gets_one_image_its_index_and_its_generator() -> None:
    seen: list[tuple[tuple[int, ...], torch.dtype, int, int]] = []

    def evaluate(latent: Tensor, index: int, iteration: int, generator: torch.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        assert generator is not None
        seen.append((tuple(latent.shape), latent.dtype, index, iteration))
        return latent.flatten(1).mean(1) + torch.rand(1, generator=generator), {}

    result = optimize(normal(2, 3, 4, dtype=torch.float16), linear_sampler(), evaluate, Settings(iterations=1))
    assert seen == [((1, 3, 4), torch.float32, index, iteration) for iteration in (0, 1) for index in (0, 1)]
    assert result.latent.dtype == torch.float16


def bad_batch(x: Tensor) -> Tensor:
    return x[:1]


def detached(x: Tensor) -> Tensor:
    return x.detach() * 2


def wrong_losses(latent: Tensor, *_: Any) -> Any:
    return latent.sum(), {}


def constant_losses(latent: Tensor, *_: Any) -> Any:
    return torch.zeros(1), {}


def unrelated_losses(latent: Tensor, *_: Any) -> Any:
    return torch.zeros(1, requires_grad=True) * 1, {}


ONE = Settings(iterations=1)
GOOD = Quadratic(normal(2, 3, seed=1))


@pytest.mark.parametrize(
    ("noise", "generate", "evaluate", "settings", "sentence"),
    [
        (normal(3), bad_batch, GOOD, ONE, r"The noise has the shape \(3,\); expected \(batch, \.\.\.\) with at least one element"),
        (normal(0, 3), bad_batch, GOOD, ONE, r"The noise has the shape \(0, 3\); expected"),
        (normal(2, 3).long(), bad_batch, GOOD, ONE, r"The noise is of type torch\.int64; expected floating point numbers\."),
        (normal(2, 3), linear_sampler(), None, ONE, r"There is no objective to optimize; connect one, or set iterations to 0"),
        (normal(2, 3), linear_sampler(), None, Settings(iterations=0, best_of=2), r"There is no objective to optimize"),
        (normal(2, 3) / 0, linear_sampler(), GOOD, ONE, r"The noise has numbers that are not finite, so it cannot be optimized; check the"),
        (normal(2, 3), bad_batch, GOOD, ONE, r"The sampler returned a latent of shape \(1, 3\) for a batch of 2\."),
        (normal(2, 3), detached, GOOD, ONE, r"What the sampler returns has no gradient in its noise"),
        (
            normal(2, 3),
            linear_sampler(),
            wrong_losses,
            ONE,
            r"The objective returned losses of shape \(\) for one image; expected \(1,\)\.",
        ),
        (normal(2, 3), linear_sampler(), constant_losses, ONE, r"The objective's loss has no gradient in the image, so it cannot be"),
        (normal(2, 3), linear_sampler(), unrelated_losses, ONE, r"The objective's loss does not depend on the image, so it cannot be"),
    ],
)
def test_what_does_not_fit_is_said(noise: Tensor, generate: Any, evaluate: Any, settings: Settings, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        optimize(noise, generate, evaluate, settings)
