"""Gradients through the decoders that ``comfy.sd.VAE`` builds, of one frame and of several."""

from __future__ import annotations

import pytest
import torch
from sgool.comfy_bridge.vae import checkpointed_part
from sgool.latent_optimization.autograd_mode import GradientMode
from sgool.latent_optimization.checkpointed_calls import checkpointed_blocks, differentiable_call
from torch import Tensor, nn

from .building import every_saved_tensor_copied, seeded
from .decoders import ARCHITECTURES, DECODERS, NOT_IMAGES, architectures, build

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore")]
# One frame of those whose several frames are among the fast tests already.
SLOW = {("SeedVR2", 1), ("Mochi", 1), ("MiniMax H3", 1)}
FRAMES = [
    pytest.param(name, n, id=f"{name}, {n}", marks=pytest.mark.slow if (name, n) in SLOW else [])
    for name, decoder in DECODERS.items()
    for n in ([1, 3] if decoder.video else [1])
]


def gradient(module: nn.Module, latent: Tensor) -> Tensor:
    leaf = latent.clone().requires_grad_()
    images = differentiable_call(module.decode, leaf, module, keep_history=True)  # type: ignore[arg-type]
    return torch.autograd.grad((images * seeded(images.shape, 4)).sum(), leaf)[0]


@pytest.mark.parametrize(("name", "frames"), FRAMES)
def test_decoders(name: str, frames: int) -> None:
    decoder = DECODERS[name]
    shape = (1, decoder.channels, *([frames] if decoder.video else []), decoder.size, decoder.size)
    with torch.inference_mode():
        module = build(name)
        latent = seeded(shape, 0)
        plain = module.decode(latent.clone())
    latent = latent.clone()
    leaf = latent.clone().requires_grad_()
    with every_saved_tensor_copied(), GradientMode(keep_history=True):
        images = module.decode(leaf * 1)
        value = (images * seeded(images.shape, 4)).sum()
    assert torch.equal(images, plain)
    (expected,) = torch.autograd.grad(value, leaf)
    assert torch.allclose(gradient(module, latent), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    with checkpointed_blocks(checkpointed_part(module, latent)):
        assert torch.allclose(gradient(module, latent), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    direction = expected / expected.norm()
    found = []
    with torch.inference_mode():
        for step in (0.3, 0.1, 0.03, 0.01):
            up, down = (module.decode(latent + sign * step * direction).double() for sign in (1, -1))
            found.append(float(((up - down) * seeded(up.shape, 4)).sum() / (2 * step)))
    errors = [abs(value / float(expected.norm()) - 1) for value in found]
    assert min(errors) < (2e-2 if decoder.kinks else 2e-3), errors


def test_every_architecture_is_covered() -> None:
    assert architectures() == set(ARCHITECTURES) | set(NOT_IMAGES)
    assert set(ARCHITECTURES.values()) <= set(DECODERS)
