"""The learned predictors built of ComfyUI's layers: the same maps, whatever part of the weights is loaded, in whatever type."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.ops
import pytest
import torch
from sgool.harness.seeded_weights import seeded_images, seeded_state
from sgool.saliency_models import registry
from sgool.saliency_models.fastsal import FastSal
from sgool.saliency_models.transalnet import TranSalNet
from sgool.saliency_models.u2net import U2Net
from sgool.saliency_models.unisal import Unisal
from torch import Tensor

pytestmark = pytest.mark.comfyui

SIZE = {"input_size": (64, 96)}


@pytest.fixture(scope="module", params=["transalnet-resnet50", "unisal", "fastsal", "u2netp"])
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Tensor]]:
    makers: dict[str, Any] = {"transalnet-resnet50": TranSalNet, "unisal": Unisal, "fastsal": FastSal, "u2netp": lambda: U2Net("u2netp")}
    with torch.device("meta"):
        shapes = makers[request.param]().state_dict()
    return str(request.param), seeded_state(shapes)


@pytest.fixture(scope="module")
def expected(case: tuple[str, dict[str, Tensor]]) -> Tensor:
    name, state = case
    with torch.no_grad():
        return registry.load(name, state, **SIZE)(seeded_images(2, 50, 70))


def test_loaded_in_part(case: tuple[str, dict[str, Tensor]], expected: Tensor) -> None:
    """With room for half of the weights, the rest is brought layer by layer."""
    name, state = case
    model = registry.load(name, state, operations=comfy.ops.manual_cast, **SIZE)
    device = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)
    patcher.load(device, lowvram_model_memory=patcher.model_size() // 2)
    try:
        assert 0 < patcher.loaded_size() < patcher.model_size()
        with torch.no_grad():
            maps = model(seeded_images(2, 50, 70))
    finally:
        patcher.detach()
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-6)


def test_half_the_weights_and_a_gradient(case: tuple[str, dict[str, Tensor]], expected: Tensor) -> None:
    """Weights in bfloat16, computed with in float32, and the pixels' gradient through them."""
    name, state = case
    half = {key: value.bfloat16() if value.dim() > 1 else value for key, value in state.items()}
    model = registry.load(name, half, operations=comfy.ops.manual_cast, **SIZE)
    images = seeded_images(2, 50, 70).requires_grad_()
    maps = model(images)
    (gradient,) = torch.autograd.grad(maps.square().sum(), images)
    assert maps.dtype == torch.float32
    assert (maps.detach() - expected).abs().mean() < 0.02
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).float().mean() > 0.5
