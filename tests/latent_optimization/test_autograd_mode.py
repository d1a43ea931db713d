"""The mode that runs operations with autograd on, whatever surrounds them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.latent_optimization.autograd_mode import GradientMode
from torch import nn


def inference_network() -> nn.Module:
    with torch.inference_mode():
        network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.Linear(64, 5))
        generator = torch.Generator().manual_seed(0)
        for parameter in network.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
    assert all(p.is_inference() for p in network.parameters())
    return network


def image(seed: int = 1) -> torch.Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_gradients_flow_through_no_grad_and_inference_weights() -> None:
    network = inference_network()
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.Linear(64, 5))
    plain.load_state_dict({name: value.clone() for name, value in network.state_dict().items()})
    leaf = image().requires_grad_()
    (expected,) = torch.autograd.grad(plain(leaf).square().sum(), leaf)
    with torch.inference_mode(), torch.inference_mode(False), GradientMode(), torch.no_grad():
        result = network(leaf).square().sum()
    (gradient,) = torch.autograd.grad(result, leaf)
    assert torch.equal(gradient, expected)


def test_inference_mode_entered_inside_is_undone() -> None:
    network = inference_network()
    leaf = image().requires_grad_()
    with GradientMode(), torch.inference_mode():
        result = network(leaf).sum()
    assert result.requires_grad
    assert not result.is_inference()
    assert torch.autograd.grad(result, leaf)[0].abs().sum() > 0


def test_weights_are_not_copied_and_not_differentiated() -> None:
    network = inference_network()
    weight = network[4].weight
    with GradientMode():
        seen = weight.view(-1)
    assert seen.data_ptr() == weight.data_ptr()
    assert not seen.is_inference()
    trained = nn.Linear(3, 3)
    leaf = torch.randn(2, 3, requires_grad=True)
    with GradientMode():
        result = trained(leaf).sum()
    result.backward()
    assert leaf.grad is not None
    assert trained.weight.grad is None


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), transpose=st.booleans())
@settings(max_examples=30, deadline=None)
def test_an_inference_tensor_is_seen_with_the_same_numbers(shape: list[int], transpose: bool) -> None:
    with torch.inference_mode():
        tensor = torch.randn([2 * size for size in shape], generator=torch.Generator().manual_seed(0))[::2]
        tensor = tensor.transpose(0, -1) if transpose else tensor
    with GradientMode():
        seen = tensor.transpose(0, -1)
    assert torch.equal(seen, tensor.transpose(0, -1))
    assert seen.stride() == tensor.transpose(0, -1).stride()
    assert not seen.is_inference()


def test_what_is_written_into_a_view_of_an_inference_tensor_has_its_history() -> None:
    with torch.inference_mode():
        cache = torch.zeros(2, 3)
        half = cache[1]
    leaf = torch.ones(3, requires_grad=True)
    with GradientMode():
        half.copy_(leaf * 2)
        cache[0].add_(leaf)
        result = (cache * 5).sum()
    assert cache.tolist() == [[1.0] * 3, [2.0] * 3]
    assert torch.autograd.grad(result, leaf)[0].tolist() == [15.0] * 3


def test_out_arguments_carry_history() -> None:
    leaf, target = torch.ones(3, requires_grad=True), torch.empty(0)
    with torch.inference_mode():
        buffer = torch.zeros(3)
    with GradientMode():
        assert torch.mul(leaf, 3.0, out=target) is target
        torch.add(leaf, 1.0, out=buffer)
        result = (target * leaf + buffer).sum()
    assert torch.autograd.grad(result, leaf)[0].tolist() == [7.0] * 3


def test_pieces_made_together_can_be_written_to() -> None:
    leaf = torch.arange(6.0).requires_grad_()
    with GradientMode(single_views=True):
        whole = leaf * 1
        a, b = whole.chunk(2)
        a += 1
        b.add_(a)
        for row in whole.view(3, 2):
            row.mul_(2)
    expected = torch.autograd.grad((2 * torch.cat([leaf[:3] + 1, leaf[3:] + (leaf[:3] + 1)])).sum(), leaf)[0]
    assert torch.equal(torch.autograd.grad(whole.sum(), leaf)[0], expected)


def test_other_inference_tensors_may_be_written_to_later() -> None:
    with torch.inference_mode():
        scale = torch.full((3,), 2.0)
    leaf = torch.ones(3, requires_grad=True)
    with GradientMode():
        result = (leaf * scale).sum()
    with torch.inference_mode():
        scale.zero_()
    assert torch.equal(torch.autograd.grad(result, leaf)[0], torch.full((3,), 2.0))


def test_writing_into_an_inference_tensor_reaches_it() -> None:
    with torch.inference_mode():
        buffer = torch.zeros(3)
    with GradientMode():
        buffer.add_(1.0)
        buffer[0] = 5.0
    assert buffer.tolist() == [5.0, 1.0, 1.0]


@pytest.mark.parametrize("spelling", ["detach", "data"])
def test_history_is_kept_only_where_asked_for(spelling: str) -> None:
    leaf = torch.ones(3, requires_grad=True)

    def cut(x: torch.Tensor) -> torch.Tensor:
        return x.detach() if spelling == "detach" else x.data

    with GradientMode(keep_history=True):
        kept = cut(leaf * 2) + leaf
    with GradientMode():
        lost = cut(leaf * 2) + leaf
    assert torch.autograd.grad(kept.sum(), leaf)[0].tolist() == [3.0] * 3
    assert torch.autograd.grad(lost.sum(), leaf)[0].tolist() == [1.0] * 3


def test_a_schedule_that_is_written_to_later_does_not_spoil_backward() -> None:
    sigmas = torch.tensor([3.0, 2.0, 1.0])
    leaf = torch.ones(2, requires_grad=True)
    with GradientMode(keep_history=True):
        result = leaf * sigmas[0]
        sigmas[0] = 7.0
    assert torch.autograd.grad(result.sum(), leaf)[0].tolist() == [3.0, 3.0]


def test_memory_that_is_used_again_is_copied_where_asked_for() -> None:
    weight = torch.ones(3)
    leaf = torch.ones(3, requires_grad=True)
    with GradientMode(copy_constants=True):
        result = (leaf * weight).sum()
    weight.zero_()
    assert torch.autograd.grad(result, leaf)[0].tolist() == [1.0] * 3


def test_numpy_and_numbers_are_given_without_history() -> None:
    leaf = torch.ones(3, requires_grad=True)
    with GradientMode():
        assert (leaf * 2).numpy().tolist() == [2.0] * 3
        assert float((leaf * 2)[0]) == 2.0


def test_suspended_it_does_nothing() -> None:
    leaf = torch.ones(3, requires_grad=True)
    mode = GradientMode()
    with torch.no_grad(), mode:
        with mode.suspend():
            assert not (leaf * 2).requires_grad
        assert (leaf * 2).requires_grad


def test_suspended_it_costs_nothing_and_can_be_resumed() -> None:
    leaf, mode, stack = torch.ones(3, requires_grad=True), GradientMode(), torch.overrides._get_current_function_mode_stack
    with torch.no_grad(), mode:
        with mode.suspend():
            assert stack() == []
            with mode.resume(), mode.suspend(), mode.resume():
                assert (leaf * 2).requires_grad
            with GradientMode(), mode.suspend():
                assert (leaf * 2).requires_grad
            assert not (leaf * 2).requires_grad
        assert stack() == [mode]
    assert stack() == []


def test_suspended_under_another_mode_it_stays_on_the_stack_and_does_nothing() -> None:
    class Other(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    leaf, mode = torch.ones(3, requires_grad=True), GradientMode()
    with torch.no_grad(), mode, Other():
        with mode.suspend():
            assert not (leaf * 2).requires_grad
            with mode.resume():
                assert (leaf * 2).requires_grad
        assert (leaf * 2).requires_grad


def test_the_state_of_autograd_is_as_before() -> None:
    @torch.no_grad()
    def sampler(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    with torch.enable_grad(), GradientMode():
        sampler(torch.ones(1, requires_grad=True))
        assert torch.is_grad_enabled()
    with torch.no_grad():
        with GradientMode():
            sampler(torch.ones(1))
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_leaves_no_mode_behind_when_something_fails() -> None:
    leaf = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError), torch.no_grad(), GradientMode():
        leaf.view(7)
    with torch.no_grad():
        assert not (leaf * 2).requires_grad
