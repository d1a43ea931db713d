"""Calls that keep their activations: the same gradient, no second forward, as many as fit; and runs that are made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sgool.latent_optimization.autograd_mode import GradientMode
from sgool.latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule
from sgool.latent_optimization.repeated_run import RepeatedRun
from sgool.latent_optimization.saved_tensors import learned_of
from sgool.latent_optimization.stored_calls import StoredCalls
from torch import Tensor

CALLS = 5
WEIGHT = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Model:
    """Writes in place into what autograd has saved, as networks do."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        h = torch.tanh(x @ WEIGHT)
        h += torch.sin(h)
        return h.cos()


def leaf() -> Tensor:
    return torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def gradient(model: Model, plan: StoredCalls | None, schedule: JacobianSchedule | None = None) -> Tensor:
    if plan is not None:
        plan.begin()
    mode, x = GradientMode(keep_history=True), leaf()
    calls = CheckpointedCalls(model, schedule or JacobianSchedule(), CALLS, mode, stored=plan)
    with mode:
        latent = x * 1
        for _ in range(CALLS):
            latent = 0.7 * latent + 0.3 * calls(latent)
    model.calls = 0
    return torch.autograd.grad(latent.sum(), x)[0]


def never() -> float:
    raise AssertionError("the room is not asked for where a number is given")


@pytest.mark.parametrize("number", [0, 1, 3, CALLS, 100])
def test_the_last_calls_are_stored_and_not_made_again(number: int) -> None:
    model = Model()
    expected = gradient(model, None)
    for _ in range(2):  # the first stored call of a model may be made twice, while it is learned what has to be copied
        assert torch.equal(gradient(model, StoredCalls(number, never)), expected)
        assert model.calls == CALLS - min(number, CALLS)


def test_of_calls_without_jacobian_none_is_stored() -> None:
    model, schedule = Model(), JacobianSchedule("every", 2)
    expected = gradient(model, None, schedule)
    assert torch.equal(gradient(model, StoredCalls(2, never), schedule), expected)
    assert model.calls == 1


def test_what_a_call_keeps_is_counted_without_weights() -> None:
    model = Model()
    gradient(model, StoredCalls(None, lambda: 0.0))
    # Saved: the product's weight, which lives on; tanh's result, which sin saves again and `+=` writes to, so one memory; cos's input, the
    # same memory again. The copy of x that the model is given is saved by nothing, since its factor is a constant.
    assert list(learned_of(model).kept_bytes.values()) == [2 * 6 * 8]


@pytest.mark.parametrize(("room", "stored"), [(0, 0), (95, 0), (96, 0), (2 * 96, 1), (3 * 96 + 50, 2), (5 * 96 - 1, 3), (5 * 96, 5)])
def test_as_many_as_fit_with_room_to_recompute_one(room: float, stored: int) -> None:
    model = Model()
    expected = gradient(model, StoredCalls(None, lambda: 0.0))
    assert model.calls == CALLS
    assert torch.equal(gradient(model, StoredCalls(None, lambda: room)), expected)
    assert model.calls == CALLS - stored


@given(
    wanted=st.one_of(st.none(), st.integers(0, 60)),
    total=st.integers(1, 50),
    room=st.floats(0, 1e4),
    size=st.integers(1, 1000),
    outputs=st.dictionaries(st.floats(0, 100), st.integers(1, 300), max_size=4),
)
def test_what_is_kept_fits_and_less_ends_at_none(wanted: int | None, total: int, room: float, size: int, outputs: dict[float, int]) -> None:
    plan, before = StoredCalls(wanted, lambda: room), total + 1
    for _ in range(9):
        plan.begin()
        plan.decide((size, outputs), total)
        calls = sum(plan.stores(left) for left in range(total, 0, -1))
        with_outputs = sum(plan.keeps_outputs(left) is not None and not plan.stores(left) for left in range(total, 0, -1))
        assert calls == plan.number <= before
        assert wanted is None or with_outputs == 0
        if wanted is None and calls < total:
            kept = sum(each for cost, each in outputs.items() if cost >= plan.least)
            assert (calls + 1) * size + with_outputs * kept <= max(room, size)
        before = calls // 2
        assert plan.less() == (calls + with_outputs > 0)
    assert not plan.keeps_anything


@pytest.mark.parametrize(
    ("room", "calls", "with_outputs", "least"),
    [(999, 0, 0, 0), (1000, 0, 0, 0), (1250, 0, 2, 8), (1500, 0, 5, 8), (2399, 0, 5, 4), (2400, 0, 5, 4), (2800, 1, 5, 4), (5000, 5, 0, 0)],
)
def test_the_dearest_outputs_come_first_where_not_all_calls_fit(room: float, calls: int, with_outputs: int, least: float) -> None:
    plan = StoredCalls(None, lambda: room)
    plan.decide((1000, {8.0: 100, 4.0: 100, 0.1: 300}), 5)
    assert (plan.number, plan.with_outputs, plan.least) == (calls, with_outputs, least)


class Full(Exception):
    pass


@pytest.mark.parametrize("when", ["before backward", "in backward"])
def test_a_run_is_made_again_where_its_graph_was_let_go(when: str) -> None:
    made, failures = [0], [when == "in backward"]

    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            if failures[0]:
                failures[0] = False
                raise Full
            return gradient

    def run(x: Tensor) -> Tensor:
        made[0] += 1
        return Failing.apply(x).sin() * x

    def guard(attempt: Callable[[], Any]) -> Any:
        try:
            return attempt()
        except Full:
            repeated.release()
        return attempt()

    repeated, x = RepeatedRun(run, guard), leaf()
    output = repeated(x)
    if when == "before backward":
        repeated.release()
    found = [torch.autograd.grad(output, x, torch.ones_like(x), retain_graph=True)[0] for _ in range(2)]
    assert made[0] == 2
    expected = x.detach().cos() * x.detach() + x.detach().sin()
    assert all(torch.allclose(each, expected, rtol=1e-12, atol=1e-12) for each in found)


def test_a_result_without_gradient_is_handed_through() -> None:
    repeated = RepeatedRun(lambda x: x.detach() * 2, lambda attempt: attempt())
    assert not repeated(leaf()).requires_grad
