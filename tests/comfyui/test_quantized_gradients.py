"""Gradients through ComfyUI's quantized layers, with weights loaded inside inference mode, against the float32 layer."""

from __future__ import annotations

from typing import Any

import comfy.ops
import pytest
import torch
from sgool.comfy_bridge.quantized import differentiable_layers
from sgool.latent_optimization.autograd_mode import GradientMode
from torch import Tensor

pytestmark = pytest.mark.comfyui
# The least cosine between the gradient in the input and float32's; what the formats' 4 and 8 bits leave of it.
COSINE = {"float8_e4m3fn": 0.999, "float8_e5m2": 0.99, "mxfp8": 0.99, "nvfp4": 0.97, "int8_tensorwise": 0.999, "convrot_w4a4": 0.9}

PRODUCTS = {"mxfp8": "scaled_mm_mxfp8", "nvfp4": "scaled_mm_nvfp4"}


def layer(name: str, weight: Tensor, bias: Tensor) -> Any:
    """A layer as core makes it from a checkpoint with that quantization."""
    operations = comfy.ops.mixed_precision_ops({}, torch.float32, full_precision_mm=False)
    with torch.inference_mode():
        made = operations.Linear(weight.shape[1], weight.shape[0], bias=True, device="cpu", dtype=torch.float32)
        algorithm = comfy.ops.QUANT_ALGOS[name]
        made.quant_format = name
        made.layout_type = algorithm["comfy_tensor_layout"]
        quantized = comfy.ops.QuantizedTensor.from_float(weight, made.layout_type, scale="recalculate")
        made.weight = torch.nn.Parameter(quantized, requires_grad=False)
        made.bias = torch.nn.Parameter(bias.clone(), requires_grad=False)
    return made


def _no_kernel(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("no such kernel for this device")


@pytest.mark.parametrize("name", list(COSINE))
def test_quantized_layers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name not in comfy.ops.QUANT_ALGOS:
        pytest.skip(f"this ComfyUI has no {name}")
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(256, 256, generator=generator) / 16, torch.randn(256, generator=generator)
    x, against = torch.randn(2, 32, 256, generator=generator), torch.randn(2, 32, 256, generator=generator)
    with torch.inference_mode():
        made = layer(name, weight, bias)
    if name in PRODUCTS:  # of Blackwell only: core falls back on the product of what it dequantizes where a kernel fails
        monkeypatch.setattr(f"comfy_kitchen.{PRODUCTS[name]}", _no_kernel)
    before = comfy.ops.QuantLinearFunc
    leaf = x.clone().requires_grad_()
    with torch.inference_mode(), torch.inference_mode(False), differentiable_layers(), GradientMode():
        result = made(leaf * 1)
        found = torch.autograd.grad((result * against).sum(), leaf)[0]
    assert comfy.ops.QuantLinearFunc is before
    with torch.inference_mode():
        assert torch.equal(result, made(x.clone()))
    expected = against @ weight
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0)
    print(f"{name}: cosine {float(cosine):.5f}")
    assert float(cosine) > COSINE[name]


@pytest.mark.parametrize("name", list(COSINE))
def test_layers_that_core_emulates(name: str) -> None:
    """As core loads a format that the device has no product for: float8 before Ada, mxfp8 and nvfp4 before Blackwell."""
    if name not in comfy.ops.QUANT_ALGOS:
        pytest.skip(f"this ComfyUI has no {name}")
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(256, 256, generator=generator) / 16, torch.randn(256, generator=generator)
    x, against = torch.randn(2, 32, 256, generator=generator), torch.randn(2, 32, 256, generator=generator)
    with torch.inference_mode():
        stored = layer(name, weight, bias).state_dict()
        operations = comfy.ops.mixed_precision_ops({}, torch.float32, full_precision_mm=False, disabled={name})
        made = operations.Linear(256, 256, bias=True, device="cpu", dtype=torch.float32)
        made.load_state_dict(stored)
        assert isinstance(made.weight, comfy.ops.QuantizedTensor)
        dequantized = made.weight.dequantize()
    leaf = x.clone().requires_grad_()
    with torch.inference_mode(), torch.inference_mode(False), differentiable_layers(), GradientMode():
        result = made(leaf * 1)
        found = torch.autograd.grad((result * against).sum(), leaf)[0]
    with torch.inference_mode():
        assert torch.allclose(result, made(x.clone()), rtol=1e-5, atol=1e-5)
        same = against @ dequantized
    assert torch.allclose(found, same, rtol=1e-4, atol=1e-5)
    assert float(torch.nn.functional.cosine_similarity(found.flatten(), (against @ weight).flatten(), dim=0)) > COSINE[name]
