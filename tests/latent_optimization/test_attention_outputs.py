"""Outputs of attention that are kept of calls computed again: the same gradient bit for bit, each attention forward once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgool.latent_optimization import attention_outputs
from sgool.latent_optimization.autograd_mode import GradientMode
from sgool.latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule
from sgool.latent_optimization.saved_tensors import learned_of
from sgool.latent_optimization.stored_calls import StoredCalls
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CALLS, KEYS = 4, 32


class Kernels(TorchDispatchMode):
    """Counts torch's fused attention: forward and backward kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.forward = self.backward = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = func._schema.name
        if name.startswith("aten::_scaled_dot_product_"):
            self.backward += name.endswith("_backward")
            self.forward += not name.endswith("_backward")
        return func(*args, **(kwargs or {}))


def plain_attention(h: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(h, h * 1.1, h.sin())


class Model:
    """Two attentions; the output of each is written to."""

    def __init__(self, attention: Callable[[Tensor], Tensor] = plain_attention) -> None:
        self.attention = attention

    def __call__(self, x: Tensor) -> Tensor:
        for _ in range(2):
            found = self.attention(torch.tanh(x))
            found *= 1.3
            found += torch.sin(found)
            x = x + found
        return x.cos()


def leaf() -> Tensor:
    return torch.randn(1, 2, KEYS, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


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


def room_for(model: Model, calls: int, attention: int) -> float:
    (kept,) = learned_of(model).kept_bytes.values()
    (outputs,) = learned_of(model).attention_bytes.values()
    return kept * (1 + calls) + outputs * (attention - calls)


@pytest.fixture(autouse=True)
def _few_keys_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_outputs, "LEAST_KEYS", KEYS)


@pytest.mark.parametrize(("stored", "with_attention"), [(0, CALLS), (0, 2), (1, CALLS)])
def test_the_gradient_is_the_same_and_each_attention_runs_forward_once(stored: int, with_attention: int) -> None:
    model = Model()
    expected = gradient(model, None)
    gradient(model, StoredCalls(None, lambda: 0.0))  # counts
    for _ in range(2):
        kernels = Kernels()
        found = gradient(model, StoredCalls(None, lambda: room_for(model, stored, with_attention)), kernels)
        assert torch.equal(found, expected)
    assert kernels.backward == 2 * CALLS
    assert kernels.forward == 2 * CALLS + 2 * (CALLS - max(stored, with_attention))


def test_what_is_counted_is_the_outputs_and_their_sums() -> None:
    model = Model()
    gradient(model, StoredCalls(None, lambda: 0.0))
    outputs, sums = 2 * KEYS * 4 * 8, 2 * KEYS * 8
    assert list(learned_of(model).attention_bytes.values()) == [2 * (outputs + sums)]


def test_of_a_run_that_is_given_a_number_of_calls_nothing_else_is_kept() -> None:
    model = Model()
    gradient(model, StoredCalls(None, lambda: 0.0))
    for _ in range(2):  # the first time it is learned what has to be copied
        kernels = Kernels()
        gradient(model, StoredCalls(1, lambda: 0.0), kernels)
    assert kernels.forward == 2 * CALLS + 2 * (CALLS - 1)


def test_attention_over_few_keys_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_outputs, "LEAST_KEYS", KEYS + 1)
    model, kernels = Model(), Kernels()
    gradient(model, StoredCalls(None, lambda: 0.0))
    assert list(learned_of(model).attention_bytes.values()) == [0]
    gradient(model, StoredCalls(None, lambda: 0.0), kernels)
    assert kernels.forward == 2 * 2 * CALLS


def test_attention_that_drops_out_is_left_to_the_random_numbers() -> None:
    def dropping(h: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(h, h * 1.1, h.sin(), dropout_p=0.1)

    model = Model(dropping)
    gradient(model, StoredCalls(None, lambda: 0.0))
    assert list(learned_of(model).attention_bytes.values()) == [0]


def test_a_call_that_attends_to_something_else_when_made_again_is_refused() -> None:
    made = [0]

    def changing(h: Tensor) -> Tensor:
        made[0] += 1
        return plain_attention(h if made[0] <= 6 * CALLS else torch.cat([h, h], 2))[:, :, :KEYS]

    model = Model(changing)
    gradient(model, StoredCalls(None, lambda: 0.0))  # each attention twice
    with pytest.raises(RuntimeError, match="did something else when backward ran it again"):
        gradient(model, StoredCalls(None, lambda: room_for(model, 0, CALLS)))


def test_backward_may_be_run_twice() -> None:
    model = Model()
    gradient(model, StoredCalls(None, lambda: 0.0))
    plan, mode, x = StoredCalls(None, lambda: room_for(model, 0, CALLS)), GradientMode(keep_history=True), leaf()
    calls = CheckpointedCalls(model, JacobianSchedule(), CALLS, mode, stored=plan)
    with mode:
        latent = calls(calls(x * 1))
    first, second = (torch.autograd.grad(latent.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
