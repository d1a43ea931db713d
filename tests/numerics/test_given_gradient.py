"""Losses with a gradient that was taken before, against autograd's own."""

from __future__ import annotations

import math

import pytest
import torch
from sgool.numerics.given_gradient import with_gradient


@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_the_gradient_that_was_taken(batch: int) -> None:
    values = torch.randn(batch, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(1.0, batch + 1, dtype=torch.float64)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return x.sin().square().mean((1, 2, 3))

    (expected,) = torch.autograd.grad((weights * loss(values)).sum(), values)
    leaf = values.detach().requires_grad_()
    losses = loss(leaf)
    (taken,) = torch.autograd.grad(losses.sum(), leaf)
    given = with_gradient(losses.detach(), values, taken)
    assert torch.equal(given, losses)
    assert torch.allclose(torch.autograd.grad((weights * given).sum(), values)[0], expected)


def test_a_gradient_that_is_not_finite_leaves_the_loss_alone() -> None:
    values = torch.ones(1, 2, requires_grad=True)
    given = with_gradient(torch.tensor([0.25]), values, torch.tensor([[math.inf, math.nan]]))
    assert given.item() == 0.25
    (gradient,) = torch.autograd.grad(given.sum(), values)
    assert gradient[0, 0] == math.inf
    assert bool(gradient[0, 1].isnan())
