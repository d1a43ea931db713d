"""Gradients of code that writes in place into what autograd has saved, against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.latent_optimization.autograd_mode import GradientMode
from sgool.latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule, checkpointed_blocks
from sgool.latent_optimization.stored_calls import StoredCalls
from torch import Tensor, nn

from ..every_output import EveryOutput
from .programs import SIZE, Instruction, finish, programs, run, start

STEP = 1e-5


def seeded(seed: int) -> Tensor:
    return torch.randn(SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slope(function: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> float:
    """Central differences, of fourth order; no autograd."""

    def at(step: float) -> float:
        with torch.inference_mode():
            return float(function(x + step * direction).sum())

    return (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP)


def gradient(
    model: Any, x: Tensor, use_checkpoint: bool, sample: Callable[[Any, Tensor], Tensor] | None = None, stored: StoredCalls | None = None
) -> Tensor:
    mode = GradientMode(keep_history=True)
    calls = CheckpointedCalls(model, JacobianSchedule(), 1, mode, use_checkpoint=use_checkpoint, stored=stored)
    leaf = x.clone().requires_grad_()
    with torch.no_grad(), mode:
        result = (sample or (lambda called, given: called(given)))(calls, leaf * 1)
    return torch.autograd.grad(result.sum(), leaf)[0]


class Part(nn.Module):
    """A block that works on a list of tensors, into which it writes."""

    def __init__(self, program: list[Instruction]) -> None:
        super().__init__()
        self.program = program
        self.inner = nn.Sequential(nn.Identity(), nn.Identity())  # more than a single layer, to count as a block

    def forward(self, pool: list[Tensor]) -> None:
        run(self.program, pool)


class Network(nn.Module):
    def __init__(self, parts: list[list[Instruction]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList([Part(program) for program in parts])

    def forward(self, x: Tensor) -> Tensor:
        pool = start(x)
        for part in self.parts:
            part(pool)
        return finish(pool)


def check(found: Tensor, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    for seed in (5, 6):
        direction = seeded(seed)
        expected = slope(function, x, direction)
        assert float((found * direction).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("use_checkpoint", [True, False])
@given(program=programs)
@settings(max_examples=60, deadline=None)
def test_any_program_of_in_place_operations(use_checkpoint: bool, program: list[Instruction]) -> None:
    network = Network([program])
    x = seeded(0)
    check(gradient(network, x, use_checkpoint), network, x)


@given(program=programs)
@settings(max_examples=60, deadline=None)
def test_any_program_with_outputs_kept(program: list[Instruction]) -> None:
    network = Network([program])
    x = seeded(0)
    check(gradient(network, x, True, stored=EveryOutput()), network, x)


@pytest.mark.parametrize("use_checkpoint", [True, False])
@given(parts=st.lists(programs, min_size=2, max_size=4))
@settings(max_examples=30, deadline=None)
def test_any_program_with_each_block_checkpointed(use_checkpoint: bool, parts: list[list[Instruction]]) -> None:
    network = Network(parts)
    x = seeded(0)
    with checkpointed_blocks(network) as recomputed:
        found = gradient(network, x, use_checkpoint)
    assert len(recomputed) == len(parts)
    check(found, network, x)
