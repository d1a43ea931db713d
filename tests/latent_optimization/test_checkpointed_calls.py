"""Model calls: checkpointed, counted, with or without their Jacobian."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sgool.latent_optimization.autograd_mode import GradientMode
from sgool.latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule, blocks_of, checkpointed_blocks
from sgool.numerics.loss_scaling import vector_jacobian
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

STEPS = 5


class Denoiser:
    label = "a model's own attribute"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.calls += 1
        return torch.tanh(x + sigma).roll(1, -1) * x.cos()


@torch.no_grad()
def sample(model: Callable[..., Tensor], x: Tensor) -> Tensor:
    for step in range(STEPS):
        x = 0.7 * x + 0.3 * model(x, float(step))
    return x


def run(noise: Tensor, schedule: JacobianSchedule, **kwargs: object) -> tuple[Tensor, CheckpointedCalls, Denoiser]:
    model, mode = Denoiser(), GradientMode(keep_history=True)
    calls = CheckpointedCalls(model, schedule, STEPS, mode, **kwargs)  # type: ignore[arg-type]
    with mode:
        return sample(calls, noise * 1), calls, model


def leaf() -> Tensor:
    return torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def by_hand(noise: Tensor, carries: Callable[[int], bool]) -> Tensor:
    """The gradient of the last latent's sum where some calls are constants."""
    model, x = Denoiser(), noise
    for step in range(STEPS):
        denoised = model(x, float(step))
        x = 0.7 * x + 0.3 * (denoised if carries(step) else denoised.detach())
    return torch.autograd.grad(x.sum(), noise)[0]


@given(count=st.integers(1, 20), total=st.integers(1, 20))
def test_schedules(count: int, total: int) -> None:
    last = [JacobianSchedule("last", count).carries(index, total) for index in range(total)]
    assert sum(last) == min(count, total)
    assert last == sorted(last)
    every = [index for index in range(total) if JacobianSchedule("every", count).carries(index, total)]
    assert every[-1] == total - 1
    assert all(b - a == count for a, b in itertools.pairwise(every))
    assert all(JacobianSchedule().carries(index, total) for index in range(total))


@pytest.mark.parametrize(("choice", "count"), [("some", 1), ("last", 0), ("every", -1)])
def test_a_schedule_that_means_nothing_is_refused(choice: str, count: int) -> None:
    with pytest.raises(ValueError, match="model calls"):
        JacobianSchedule(choice, count)


def test_gradcheck_through_checkpointed_calls() -> None:
    assert torch.autograd.gradcheck(lambda x: run(x, JacobianSchedule())[0], (leaf(),))


def test_checkpointing_changes_no_bit() -> None:
    noise = leaf()
    gradients = []
    for use_checkpoint in (True, False):
        result, _, _ = run(noise, JacobianSchedule(), use_checkpoint=use_checkpoint)
        gradients.append(torch.autograd.grad(result.sum(), noise)[0])
    assert torch.equal(*gradients)
    assert torch.allclose(gradients[0], by_hand(noise, lambda step: True), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "carries"),
    [
        (JacobianSchedule("last", 2), lambda step: step >= STEPS - 2),
        (JacobianSchedule("every", 2), lambda step: step in (0, 2, 4)),
        (JacobianSchedule("every", 3), lambda step: step in (1, 4)),
    ],
)
def test_a_call_without_jacobian_contributes_the_linear_path(schedule: JacobianSchedule, carries: Callable[[int], bool]) -> None:
    noise = leaf()
    result, _, model = run(noise, schedule)
    assert torch.equal(result.detach(), run(noise, JacobianSchedule())[0].detach())
    model.calls = 0
    assert torch.allclose(torch.autograd.grad(result.sum(), noise)[0], by_hand(noise, carries), rtol=1e-12, atol=1e-12)
    assert model.calls == sum(carries(step) for step in range(STEPS))  # backward recomputes these calls and no others


def test_counts_calls_and_hands_attributes_through() -> None:
    seen = []
    result, calls, model = run(leaf(), JacobianSchedule(), before_call=lambda: seen.append(1))
    assert (calls.calls, model.calls, len(seen)) == (STEPS, STEPS, STEPS)
    assert calls.label == model.label
    result.sum().backward()
    assert (calls.calls, model.calls, len(seen)) == (STEPS, 2 * STEPS, 2 * STEPS)


class Canceled(BaseException):
    pass


def test_canceling_in_backward_passes_through() -> None:
    count = [0]

    def cancel_late() -> None:
        count[0] += 1
        if count[0] == STEPS + 2:
            raise Canceled

    result, _, _ = run(leaf(), JacobianSchedule(), before_call=cancel_late)
    with pytest.raises(Canceled):
        result.sum().backward()
    with torch.no_grad():
        assert not (torch.ones(1, requires_grad=True) * 2).requires_grad


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True) for _ in range(2)])
        self.holder = nn.Module()
        self.holder.inner = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.out = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.out(self.holder.inner(x))


def test_blocks_are_checkpointed_and_given_back() -> None:
    torch.manual_seed(0)
    network = Network().double().train()
    assert [type(block).__name__ for block in blocks_of(network)] == ["TransformerEncoderLayer"] * 3
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(network(x).sum(), x)
    with checkpointed_blocks(network) as recomputed:
        (gradient,) = torch.autograd.grad(network(x).sum(), x)
        with torch.no_grad():
            assert not network(x.detach()).requires_grad
    assert recomputed == set(blocks_of(network))
    assert torch.allclose(gradient, expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(RuntimeError, match="stop"), checkpointed_blocks(network):
        raise RuntimeError("stop")
    assert all("forward" not in module.__dict__ for module in network.modules())


class GoesPast(nn.Module):
    """Calls what is in its language model, and never that itself."""

    def __init__(self) -> None:
        super().__init__()
        self.language_model = Network()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.language_model.blocks:
            x = block(x)
        return x


def test_blocks_in_a_block_that_is_never_called_are_recomputed() -> None:
    torch.manual_seed(0)
    network = GoesPast().double().train()
    assert blocks_of(network) == [network.language_model]
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(network(x).sum(), x)
    with checkpointed_blocks(network) as recomputed:
        (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert recomputed == set(network.language_model.blocks)
    assert torch.allclose(gradient, expected, rtol=1e-12, atol=1e-12)
    assert all("forward" not in module.__dict__ for module in network.modules())


def test_loss_scaling_keeps_the_activations_of_no_call() -> None:
    """It keeps the graph until the result is known to be finite; what backward has computed again must not be kept with it."""
    made: list[StorageWeakRef] = []

    def model(x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(1.01 * x)
            made.append(StorageWeakRef(x.untyped_storage()))
        return x

    mode = GradientMode(keep_history=True)
    calls = CheckpointedCalls(model, JacobianSchedule(), 0, mode)
    leaf = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with mode:
        output = calls(calls(calls(leaf.clone())))
    made.clear()
    found = vector_jacobian(output, leaf, torch.ones(2, 5))
    assert len(made) == 6  # recomputing stops at the last tensor that backward needs
    assert all(storage.expired() for storage in made)
    again = vector_jacobian(output, leaf, torch.ones(2, 5))
    assert found is not None
    assert again is not None
    assert torch.equal(found, again)
