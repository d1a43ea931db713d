"""Loss scaling against float32 or float64, and against the same thing without it."""

from __future__ import annotations

import pytest
import torch
from sgool.numerics.loss_scaling import scaled, vector_jacobian
from torch import Tensor


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """``(B,)`` for ``(B, n)``, of any size: torch's own gives up below 1e-8."""
    first, second = (each.double() / each.double().norm(dim=-1, keepdim=True) for each in (first, second))
    return (first * second).sum(-1)


def network(dtype: torch.dtype, x: Tensor, gain: float = 1.0) -> Tensor:
    """``(B, 32)`` to ``(B, 32)``: two layers computed in ``dtype``."""
    first, second = (draw(seed, 32, 32) / 6 * gain for seed in (1, 2))
    return (torch.tanh(x.to(dtype) @ first.to(dtype)) @ second.to(dtype)).float()


def pulled(dtype: torch.dtype, gradient: Tensor, scale: bool, gain: float = 1.0) -> Tensor:
    leaf = draw(0, *gradient.shape).requires_grad_()
    output = scaled(lambda x: network(dtype, x, gain), leaf) if scale else network(dtype, leaf, gain)
    return torch.autograd.grad(output, leaf, gradient)[0]


@pytest.mark.parametrize("size", [1e-12, 1e-7, 1e-3, 1.0, 1e6, 1e12])
def test_half_precision_keeps_the_direction_whatever_the_size(size: float) -> None:
    gradient = draw(3, 4, 32) * size
    expected = pulled(torch.float32, gradient, scale=False)
    assert cosines(pulled(torch.float16, gradient, scale=True), expected).min() > 0.9999
    plain = pulled(torch.float16, gradient, scale=False)
    assert (size in (1e-3, 1.0)) == bool(torch.isfinite(plain).all() and cosines(plain, expected).min() > 0.9999)


def test_in_full_precision_nothing_changes() -> None:
    gradient = draw(3, 4, 32)
    assert torch.equal(pulled(torch.float32, gradient, scale=True), pulled(torch.float32, gradient, scale=False))


def test_each_image_has_its_own_scale() -> None:
    sizes = torch.tensor([1e-9, 1.0, 0.0, 1e9])[:, None]
    gradient = draw(3, 4, 32) * sizes
    found = pulled(torch.float16, gradient, scale=True)
    for index in (0, 1, 3):
        alone = torch.zeros_like(gradient)
        alone[index] = gradient[index]
        assert torch.equal(pulled(torch.float16, alone, scale=True)[index], found[index])
        assert cosines(found[index], pulled(torch.float32, gradient, scale=False)[index]) > 0.9999
    assert torch.equal(found[2], torch.zeros(32))


def test_what_overflows_inside_is_taken_again_at_a_smaller_scale() -> None:
    gradient = draw(3, 2, 32) * torch.tensor([[1.0], [1e-3]])
    gain = 60.0  # the two layers make gradients more than 65504 / 2^7 times larger
    expected = pulled(torch.float32, gradient, scale=False, gain=gain)
    found = pulled(torch.float16, gradient, scale=True, gain=gain)
    assert torch.isfinite(found).all()
    assert cosines(found, expected).min() > 0.99


def test_what_is_not_finite_stays_so_and_leaves_the_others_alone() -> None:
    gradient = draw(3, 3, 32) * 1e-8
    gradient[1, 5] = float("nan")
    found = pulled(torch.float16, gradient, scale=True)
    assert torch.isnan(found[1]).any()
    assert cosines(found[::2], pulled(torch.float32, gradient, scale=False)[::2]).min() > 0.9999


def test_a_derivative_that_is_infinite_is_told_as_it_is() -> None:
    leaf = torch.zeros(2, 3).requires_grad_()
    output = torch.stack([leaf[0].sqrt(), leaf[1] * 2])
    found = vector_jacobian(output, leaf, torch.ones(2, 3))
    assert found is not None
    assert torch.isinf(found[0]).all()
    assert torch.equal(found[1], torch.full((3,), 2.0))


def test_batches_of_different_sizes_share_a_scale() -> None:
    leaf = draw(0, 2, 4).requires_grad_()
    found = vector_jacobian((leaf.half() * 3).float().reshape(4, 2), leaf, torch.full((4, 2), 1e-8))
    assert found is not None
    assert torch.allclose(found, torch.full((2, 4), 3e-8))


def test_without_a_gradient_there_is_nothing_to_scale() -> None:
    x = draw(0, 2, 32)
    with torch.no_grad():
        assert torch.equal(scaled(lambda x: network(torch.float16, x), x.requires_grad_()), network(torch.float16, x))
    other = draw(1, 2, 32).requires_grad_()
    assert vector_jacobian(other * 2, x, torch.ones(2, 32)) is None
    constant = scaled(lambda x: torch.ones_like(x).detach(), x)
    assert torch.autograd.grad(constant.sum() + x.sum(), x)[0].eq(1).all()
