"""Weights that are cast for their product: the same gradient, and no copy of them kept."""

from __future__ import annotations

import pytest
import torch
from sgool.latent_optimization.autograd_mode import GradientMode
from sgool.latent_optimization.cast_weights import CastWeights
from sgool.latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule
from sgool.latent_optimization.saved_tensors import learned_of
from sgool.latent_optimization.stored_calls import StoredCalls
from torch import Tensor, nn

WIDTH, LAYERS, ROWS = 24, 3, 2


class Network(nn.Module):
    """Layers as core casts them, with what a patch on a weight may do besides."""

    def __init__(self, dtype: torch.dtype, use: str = "plain") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(WIDTH, WIDTH, generator=generator).to(torch.bfloat16).to(dtype) for _ in range(LAYERS)]
        self.weights = nn.ParameterList([nn.Parameter(each) for each in drawn])
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        for weight in self.weights:
            cast = weight.to(dtype=x.dtype)
            if self.use == "written before":
                cast = cast.clone() if cast.dtype == weight.dtype else cast
                cast *= 0.5
            product = x @ cast.t() if self.use == "view" else torch.nn.functional.linear(x, cast)
            if self.use == "written later":
                cast = cast.clone() if cast.dtype == weight.dtype else cast
                cast += 1.0
            x = torch.tanh(product / WIDTH**0.5)
        return x


def gradient(network: Network, stored: int) -> tuple[Tensor, int]:
    """Through three calls, and the bytes that one keeps."""
    mode, x = GradientMode(keep_history=True), torch.linspace(-1, 1, ROWS * WIDTH, dtype=torch.float64).view(ROWS, WIDTH).requires_grad_()
    plan = StoredCalls(stored or None, lambda: 0.0)
    calls = CheckpointedCalls(network, JacobianSchedule(), 3, mode, stored=plan)
    with torch.inference_mode(False), mode:
        latent = x * 1
        for _ in range(3):
            latent = 0.5 * latent + calls(latent)
    (found,) = torch.autograd.grad(latent.square().sum(), x)
    return found, max(learned_of(network).kept_bytes.values(), default=0)


def inference(dtype: torch.dtype, use: str) -> Network:
    with torch.inference_mode():
        return Network(dtype, use)


@pytest.mark.parametrize("use", ["plain", "view", "written before", "written later"])
@pytest.mark.parametrize("stored", [0, 3])
def test_the_gradient_is_that_of_weights_that_need_no_cast(stored: int, use: str) -> None:
    expected, _ = gradient(Network(torch.float64, use), stored=0)
    for network in (Network(torch.bfloat16, use), inference(torch.bfloat16, use)):
        for _ in range(2):  # the second time, it is known what is written to
            own, _ = gradient(network, stored)
            assert torch.allclose(own, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("use", ["plain", "view"])
def test_no_copy_of_a_weight_is_kept(use: str) -> None:
    _, own = gradient(inference(torch.bfloat16, use), stored=0)
    _, without = gradient(inference(torch.float64, use), stored=0)
    assert own == without < WIDTH * WIDTH * 8


def test_a_copy_that_was_written_to_is_kept() -> None:
    _, own = gradient(inference(torch.bfloat16, "written before"), stored=0)
    assert own > LAYERS * WIDTH * WIDTH * 8


def test_what_was_moved_to_another_device_is_kept() -> None:
    casts, weight = CastWeights(), torch.ones(4, 4, dtype=torch.bfloat16)
    here, there = weight.to(torch.float32), weight.to("meta", torch.float32)
    for cast in (here, there):
        casts.note(weight, cast)
    assert casts.of(here) is not None
    assert casts.of(there) is None
