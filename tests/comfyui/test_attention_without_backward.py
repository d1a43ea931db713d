"""Attention by kernels that have no backward, as nodes and start options bring it in: the gradient is that of torch's attention.

The reference is the same model with torch's attention, through core's guider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfy.ldm.flux import math as flux
from comfy.ldm.modules import attention as core
from comfy.ldm.wan import model as wan
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.self_check import CALLS, warning_about_gradient
from sgool.latent_optimization.kernels import NoBackwardError
from sgool.latent_optimization.stored_calls import StoredCalls
from torch import Tensor

from .families.building import build, gradient, slope_error, through_guider, torchs_attention, with_attention

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore")]
FAMILIES = ["SD15", "Flux", "WAN21_T2V"]
Override = Callable[..., Tensor]


def without_history(q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """As a kernel that torch knows nothing of: a result without history."""
    with torch._C.DisableTorchFunction(), torch.no_grad():
        return core.attention_pytorch(q.detach(), k.detach(), v.detach(), *args, **kwargs)


def from_a_node(function: Any, *args: Any, **kwargs: Any) -> Tensor:
    return without_history(*args, **kwargs)


def eight_bits(function: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    q, k, v = (torch.round(each * (127 / each.abs().amax())) * (each.abs().amax() / 127) for each in (q, k, v))
    return without_history(q, k, v, *args, **kwargs)


def for_few_keys(function: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A kernel for some shapes, torch's attention for the others: here those that come first."""
    few = k.shape[1] < 64
    return (without_history if few else core.attention_pytorch)(q, k, v, *args, **kwargs)


def something_else(function: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return without_history(q * 3, k, -v, *args, **kwargs)


@torch.library.custom_op("sgool_tests::attention", mutates_args=())
def registered_kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def registered(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, skip_reshape: bool = False, **kwargs: Any) -> Tensor:
    """An operation that is registered with torch and has no backward there."""
    if not skip_reshape:
        q, k, v = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (q, k, v))
    return registered_kernel(q, k, v).transpose(1, 2).flatten(2)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def sampled(name: str, override: Override | None = None, *, stored: bool = False) -> tuple[Tensor, Tensor]:
    """Latent and gradient."""

    def action(run: NoiseToLatent, noise: Tensor) -> tuple[Tensor, Tensor]:
        run._stored = StoredCalls(2, lambda: 0.0) if stored else None
        return run(noise), gradient(run, noise)

    with torch.inference_mode():
        model = build(name)
        return through_guider(name, model if override is None else with_attention(model, override), action)


def compared(name: str, override: Override, *, stored: bool = False) -> tuple[float, float]:
    """Relative differences from torch's attention: of the latent and of the gradient."""
    latent, found = sampled(name, override, stored=stored)
    expected_latent, expected = sampled(name, torchs_attention, stored=stored)
    return relative(latent, expected_latent), relative(found, expected)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("stored", [False, True])
def test_a_nodes_kernel_without_history_gets_the_gradient_of_torchs(name: str, stored: bool) -> None:
    latent, found = compared(name, from_a_node, stored=stored)
    assert latent == 0
    assert found < 1e-5


def test_a_kernel_for_some_shapes_only() -> None:
    latent, found = compared("SD15", for_few_keys)
    assert latent == 0
    assert found < 1e-5


def test_a_registered_operation_without_backward_gets_it_too() -> None:
    latent, found = compared("SD15", registered)
    assert latent < 1e-5
    assert found < 1e-4


def test_eight_bits_change_the_values_and_the_gradient_a_little() -> None:
    latent, found = compared("SD15", eight_bits)
    assert 1e-6 < latent < 0.02
    assert 1e-6 < found < 0.05


@pytest.mark.parametrize("name", FAMILIES)
def test_cores_sage_attention(name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """SageAttention needs a GPU: its function is stood in for, core's code around it is core's."""
    kernels = []

    def sageattn(q: Tensor, k: Tensor, v: Tensor, *, tensor_layout: str, sm_scale: float | None = None, **others: Any) -> Tensor:
        kernels.append(q.shape)
        heads_second = [each if tensor_layout == "HND" else each.transpose(1, 2) for each in (q, k, v)]
        with torch._C.DisableTorchFunction(), torch.no_grad():
            found = torch.nn.functional.scaled_dot_product_attention(*(each.detach() for each in heads_second), scale=sm_scale)
        return found if tensor_layout == "HND" else found.transpose(1, 2)

    for module in (core, flux, wan):  # as with ComfyUI's start option, which is read when they are imported
        monkeypatch.setattr(module, "optimized_attention", core.attention_sage)
    monkeypatch.setattr(core, "sageattn", sageattn, raising=False)
    monkeypatch.setattr(core, "SAGE_ATTENTION_SUPPORTS_MASK", False, raising=False)
    (latent, found), (expected_latent, expected) = sampled(name), sampled(name, torchs_attention)
    assert torch.allclose(latent, expected_latent, atol=1e-6)
    assert relative(found, expected) < 1e-5
    assert kernels
    assert "Error running sage attention" not in caplog.text


def test_cores_flash_attention(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """FlashAttention needs a GPU: its function is stood in for; core has registered it with torch, without a backward."""
    kernels = []

    def flash_attn_func(q: Tensor, k: Tensor, v: Tensor, **others: Any) -> Tensor:
        kernels.append(q.shape)
        return torch.nn.functional.scaled_dot_product_attention(*(each.transpose(1, 2) for each in (q, k, v))).transpose(1, 2)

    monkeypatch.setattr(core, "optimized_attention", core.attention_flash)
    monkeypatch.setattr(core, "flash_attn_func", flash_attn_func, raising=False)
    (latent, found), (expected_latent, expected) = sampled("SD15"), sampled("SD15", torchs_attention)
    assert torch.allclose(latent, expected_latent, atol=1e-6)
    assert relative(found, expected) < 1e-5
    assert kernels
    assert "Flash Attention failed" not in caplog.text


def test_the_check_of_the_gradient_agrees_and_takes_nothing_for_detached() -> None:
    with torch.inference_mode():
        model = with_attention(build("SD15"), from_a_node)
        assert through_guider("SD15", model, warning_about_gradient) == (None, CALLS)


def test_what_is_no_attention_of_torchs_is_refused_with_a_sentence() -> None:
    with pytest.raises(NoBackwardError, match=r"something_else has no backward, and it is not the attention that torch computes"):
        compared("SD15", something_else)


def test_attention_with_a_backward_of_its_own_is_left_alone() -> None:
    def halved(function: Any, *args: Any, **kwargs: Any) -> Tensor:
        return 0.5 * core.attention_sub_quad(*args, **kwargs)

    with torch.inference_mode():
        assert through_guider("SD15", with_attention(build("SD15"), halved), slope_error) < 2e-3
