"""Outputs that are kept of calls computed again: the same gradient bit for bit, each dear operation forward once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgool.latent_optimization.autograd_mode import GradientMode
from sgool.latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule
from sgool.latent_optimization.kept_outputs import worth_keeping
from sgool.latent_optimization.saved_tensors import learned_of
from sgool.latent_optimization.stored_calls import StoredCalls
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..every_output import EveryOutput

CALLS, KEYS, WIDTH, CHANNELS = 4, 32, 4, 2
ATTENTION, LINEAR, CONVOLUTION = 2 * KEYS / 8, WIDTH / 8, CHANNELS * 9 / 8
"""Multiplications for each byte, in float64."""

OUTPUT, SUMS = CHANNELS * KEYS * WIDTH * 8, CHANNELS * KEYS * 8
"""Bytes: attention keeps the logarithms of its sums as well."""


class Kernels(TorchDispatchMode):
    """Counts the kernels of the model's three dear operations."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = self.attention_backward = self.linear = self.convolution = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = func._schema.name
        if name.startswith("aten::_scaled_dot_product_"):
            self.attention_backward += name.endswith("_backward")
            self.attention += not name.endswith("_backward")
        self.linear += name == "aten::addmm"
        self.convolution += name == "aten::convolution"
        return func(*args, **(kwargs or {}))

    @property
    def forward(self) -> tuple[int, int, int]:
        return self.attention, self.linear, self.convolution


def plain_attention(h: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(h, h * 1.1, h.sin())


class Model:
    """Twice attention, a linear layer and a convolution; the output of each is written to."""

    def __init__(self, attention: Callable[[Tensor], Tensor] = plain_attention) -> None:
        self.attention = attention
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.linear = nn.Linear(WIDTH, WIDTH).double()
            self.convolution = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).double()

    def __call__(self, x: Tensor) -> Tensor:
        for operation in (self.attention, self.linear, self.convolution) * 2:
            found = operation(torch.tanh(x))
            found *= 1.3
            found += torch.sin(found)
            x = x + found
        return x.cos()


def leaf() -> Tensor:
    return torch.randn(1, CHANNELS, KEYS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def gradient(model: Model, plan: StoredCalls | None, kernels: Kernels | None = None) -> Tensor:
    if plan is not None:
        plan.begin()
    mode, x = GradientMode(keep_history=True), leaf()
    calls = CheckpointedCalls(model, JacobianSchedule(), CALLS, mode, stored=plan)
    with kernels or Kernels():
        with mode:
            latent = x * 1
            for _ in range(CALLS):
                latent = 0.7 * latent + 0.3 * calls(latent)
        return torch.autograd.grad(latent.sum(), x)[0]


def counted(model: Model) -> dict[float, int]:
    """What its outputs take, by what they cost, after a run that keeps none."""
    gradient(model, StoredCalls(None, lambda: 0.0))
    (found,) = learned_of(model).outputs.values()
    return found


def room_for(model: Model, stored: int, with_outputs: int, outputs: int) -> float:
    (kept,) = learned_of(model).kept_bytes.values()
    return kept * (1 + stored) + outputs * (with_outputs - stored)


@pytest.mark.parametrize(("stored", "with_outputs", "dear"), [(0, CALLS, 1), (0, 2, 1), (0, CALLS, 2), (1, CALLS, 2)])
def test_the_gradient_is_the_same_and_the_dearest_run_forward_once(stored: int, with_outputs: int, dear: int) -> None:
    model = Model()
    expected = gradient(model, None)
    outputs = sum(counted(model)[each] for each in (ATTENTION, CONVOLUTION)[:dear])
    for _ in range(2):
        kernels = Kernels()
        found = gradient(model, StoredCalls(None, lambda: room_for(model, stored, with_outputs, outputs)), kernels)
        assert torch.equal(found, expected)
    once, again = 2 * CALLS, 2 * (CALLS - stored)
    kept = once + 2 * (CALLS - max(stored, with_outputs))
    assert kernels.attention_backward == once
    assert kernels.forward == (kept, once + again, kept if dear > 1 else once + again)


def test_with_every_output_kept_nothing_dear_is_computed_again() -> None:
    model, kernels = Model(), Kernels()
    assert torch.equal(gradient(model, EveryOutput(), kernels), gradient(model, None))
    assert kernels.forward == (2 * CALLS,) * 3


def test_outputs_are_counted_by_what_they_cost() -> None:
    assert counted(Model()) == {ATTENTION: 2 * (OUTPUT + SUMS), LINEAR: 2 * OUTPUT, CONVOLUTION: 2 * OUTPUT}


def test_worth_keeping_is_what_costs_more_than_a_call_in_the_mean_up_to_half_of_its_bytes() -> None:
    sizes = {8.0: 10, 4.0: 10, 1.0: 100}  # 220 multiplications
    assert worth_keeping(sizes, 219) == [(8.0, 10), (4.0, 20)]  # 1.004 a byte in the mean
    assert worth_keeping(sizes, 230) == [(8.0, 10), (4.0, 20)]  # the rest is dear enough, but more than half
    assert worth_keeping(sizes, 1000) == [(8.0, 10), (4.0, 20), (1.0, 120)]
    assert worth_keeping(sizes, 50) == [(8.0, 10)]
    assert worth_keeping(sizes, 20) == []
    assert worth_keeping({}, 100) == []


def test_of_a_run_that_is_given_a_number_of_calls_nothing_else_is_kept() -> None:
    model = Model()
    counted(model)
    for _ in range(2):  # the first time it is learned what has to be copied
        kernels = Kernels()
        gradient(model, StoredCalls(1, lambda: 0.0), kernels)
    assert kernels.forward == (2 * CALLS + 2 * (CALLS - 1),) * 3


def test_beside_a_number_of_calls_outputs_are_kept_where_that_is_wanted() -> None:
    model, kernels = Model(), Kernels()
    expected, plan = gradient(model, None), StoredCalls(0, lambda: 1e9, outputs=True)
    gradient(model, plan)  # counts
    assert torch.equal(gradient(model, plan, kernels), expected)
    assert plan.number == 0
    assert kernels.attention == 2 * CALLS
    assert kernels.linear == 4 * CALLS


def test_attention_that_drops_out_is_left_to_the_random_numbers() -> None:
    def dropping(h: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(h, h * 1.1, h.sin(), dropout_p=0.1)

    assert ATTENTION not in counted(Model(dropping))


def test_a_call_that_attends_to_something_else_when_made_again_is_refused() -> None:
    made = [0]

    def changing(h: Tensor) -> Tensor:
        made[0] += 1
        return plain_attention(h if made[0] <= 2 * CALLS else torch.cat([h, h], 2))[:, :, :KEYS]

    with pytest.raises(RuntimeError, match="did something else when backward ran it again"):
        gradient(Model(changing), EveryOutput())


def test_backward_may_be_run_twice() -> None:
    mode, x = GradientMode(keep_history=True), leaf()
    calls = CheckpointedCalls(Model(), JacobianSchedule(), CALLS, mode, stored=EveryOutput())
    with mode:
        latent = calls(calls(x * 1))
    first, second = (torch.autograd.grad(latent.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
