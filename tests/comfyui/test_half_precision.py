"""Gradients through models in half precision, compared with the same models in float32, at the sizes that real losses give them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.vae import decode_with_grad
from sgool.numerics.loss_scaling import vector_jacobian
from torch import Tensor

from .guided import through_guider, weights
from .tiny_models import tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore:Should have t[ab]")]
HALF = [torch.float16, torch.bfloat16]


def compare(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """For each image: the same direction, the same length."""
    found, expected = found.flatten(1).double(), expected.flatten(1).double()
    lengths, right = found.norm(dim=1), expected.norm(dim=1)
    assert ((found * expected).sum(dim=1) / lengths / right).min() > 0.99
    assert ((lengths - right).abs() / right).max() < tolerance


def vae_of(dtype: torch.dtype) -> Any:
    vae = tiny_vae()
    vae.first_stage_model.to(dtype)
    vae.vae_dtype = dtype
    return vae


def model_of(dtype: torch.dtype) -> Any:
    model = tiny_model()
    model.model.diffusion_model.to(dtype)
    model.model.diffusion_model.dtype = dtype
    return model


def latent_gradient(dtype: torch.dtype, side: int, factor: float) -> Tensor:
    """Of a mean over the pixels of an image with sides of ``side``, taken in a part of it: per pixel, that is all that counts."""
    with torch.inference_mode():
        vae = vae_of(dtype)
    generator = torch.Generator().manual_seed(0)
    leaf = torch.randn(2, 4, 12, 12, generator=generator).requires_grad_()
    images = decode_with_grad(vae, leaf, as_inference=True)
    gradient = torch.randn(images.shape, generator=generator) * factor / (3 * side * side)
    return torch.autograd.grad(images, leaf, gradient)[0]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(("side", "factor"), [(512, 1.0), (1024, 1.0), (1024, 1e-2), (2048, 1e-4)])
def test_a_vae_keeps_the_direction(dtype: torch.dtype, side: int, factor: float) -> None:
    found, expected = (latent_gradient(each, side, factor) for each in (dtype, torch.float32))
    assert (found == 0).float().mean() < 1e-3
    compare(found, expected, 0.02)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("size", [1.0, 1e-7, 1e-10])
def test_a_sampler_keeps_the_direction(dtype: torch.dtype, size: float) -> None:
    def gradient(run: NoiseToLatent, noise: Tensor) -> Tensor | None:
        leaf = noise.requires_grad_()
        return vector_jacobian(run(leaf), leaf, weights() * size)

    with torch.inference_mode():
        found, expected = (through_guider(model_of(each), gradient) for each in (dtype, torch.float32))
    compare(found, expected, 0.05)
