"""Decoding with a gradient through VAE objects as ComfyUI loads them."""

from __future__ import annotations

from typing import Any

import comfy.cli_args
import comfy.model_patcher
import comfy.sd
import pytest
import torch
from sgool.comfy_bridge.decoding_steps import told_of_blocks
from sgool.comfy_bridge.vae import check_vae, checkpointed_part, decode_with_grad
from sgool.latent_optimization.frames import Frames
from torch import Tensor

from .tiny_models import fill, tiny_vae

pytestmark = pytest.mark.comfyui


def latent(channels: int = 4, batch: int = 2, size: int = 6) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def taesd(channels: int = 4) -> Any:
    """TAESD as core loads it from a file, with weights from a seed."""
    from comfy.taesd.taesd import TAESD

    network = TAESD(latent_channels=channels)
    fill(network, 1, gain=1.4)
    return comfy.sd.VAE(sd={key: value.clone() for key, value in network.state_dict().items()})


def gradient_and_slope(vae: Any, start: Tensor) -> tuple[float, float]:
    """Slope of a weighted sum of the images along its own gradient: by autograd, and the best of a few central differences."""
    weights: Tensor | None = None

    def value(x: Tensor) -> Tensor:
        nonlocal weights
        images = decode_with_grad(vae, x, as_inference=True)
        if weights is None:
            weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(3))
        return (images.double() * weights.double()).sum()

    with torch.inference_mode(False), torch.enable_grad():
        leaf = start.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(leaf), leaf)
    own = float(gradient.norm())
    direction = gradient / own
    slopes = [float(value(start + step * direction) - value(start - step * direction)) / (2 * step) for step in (0.1, 0.03, 0.01, 0.003)]
    return own, min(slopes, key=lambda slope: abs(slope - own))


@pytest.mark.parametrize("make", [tiny_vae, lambda: tiny_vae(16), taesd], ids=["SD", "16 channels", "TAESD"])
def test_decodes_as_comfyui_does_with_the_right_gradient(make: Any) -> None:
    with torch.inference_mode():
        vae = make()
        start = latent(vae.latent_channels) * 0.3
        images = decode_with_grad(vae, start)
        assert torch.allclose(images.movedim(1, -1), vae.decode(start), atol=1e-6)
        assert images.shape[:2] == (2, 3)
        own, slope = gradient_and_slope(vae, start)
    assert abs(own - slope) < 2e-2 * abs(slope)


def test_checkpointed_blocks_give_the_same_gradient_and_are_given_back() -> None:
    with torch.inference_mode():
        vae = tiny_vae()
    assert checkpointed_part(vae.first_stage_model, latent()) is vae.first_stage_model.decoder  # whose blocks, not itself as one
    gradients = []
    for fine in (False, True):
        leaf = latent().requires_grad_()
        gradients.append(torch.autograd.grad(decode_with_grad(vae, leaf, True, fine).square().sum(), leaf)[0])
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-6 * float(gradients[0].abs().max()))
    assert not any("forward" in module.__dict__ for module in vae.first_stage_model.modules())


def test_never_in_tiles() -> None:
    """Core decodes in tiles when memory runs out; a gradient must not."""
    vae = tiny_vae()

    def fails(*args: Any, **kwargs: Any) -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory (pretended)")

    vae.first_stage_model.decode = fails
    with pytest.raises(torch.cuda.OutOfMemoryError):
        decode_with_grad(vae, latent().requires_grad_())


class Video(torch.nn.Module):
    """The shape of a video VAE: five dimensions, and more frames out than in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(4, 3, 3, padding=1)

    def decode(self, x: Tensor) -> Tensor:
        return self.layer(x.repeat_interleave(2, 3).repeat_interleave(2, 4)).repeat_interleave(4 * x.shape[2] - 3, 2)[
            :, :, : 4 * x.shape[2] - 3
        ]


@pytest.mark.parametrize("shape", [(1, 4, 1, 4, 4), (1, 4, 4, 4), (1, 4, 3, 4, 4)])
def test_video_latents_give_the_frames_that_are_wanted(shape: tuple[int, ...]) -> None:
    vae = tiny_vae()
    vae.latent_dim = 3
    vae.first_stage_model = Video()
    vae.patcher = comfy.model_patcher.CoreModelPatcher(vae.first_stage_model, load_device=vae.device, offload_device=vae.device)
    vae.memory_used_decode = lambda shape, dtype: 1.0
    leaf = torch.zeros(shape, requires_grad=True)
    images = decode_with_grad(vae, leaf, frames=Frames("every", 3))
    assert images.shape == (3 if len(shape) == 5 and shape[2] == 3 else 1, 3, 8, 8)
    images.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0


class Forgetful(Video):
    """Hands its first frame on to the others, detached, as SeedVR2's decoder does."""

    def decode(self, x: Tensor) -> Tensor:
        return super().decode(x + x[:, :, :1].detach())


def test_the_gradient_goes_through_what_a_decoder_detaches() -> None:
    vae = tiny_vae()
    module = vae.first_stage_model = Forgetful()
    vae.latent_dim = 3
    vae.patcher = comfy.model_patcher.CoreModelPatcher(module, load_device=vae.device, offload_device=vae.device)
    vae.memory_used_decode = lambda shape, dtype: 1.0
    leaf = torch.full((1, 4, 3, 4, 4), 0.1, requires_grad=True)
    (found,) = torch.autograd.grad(decode_with_grad(vae, leaf, frames=Frames("all")).sum(), leaf)
    images = (Video.decode(module, leaf + leaf[:, :, :1]) / 2 + 0.5).clamp(0, 1)
    (expected,) = torch.autograd.grad(images.sum(), leaf)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_flat_vae_takes_a_video_latent_of_one_frame() -> None:
    assert decode_with_grad(tiny_vae(), latent().unsqueeze(2)).shape == (2, 3, 12, 12)


def test_a_vae_that_does_not_fit_is_refused() -> None:
    check_vae(tiny_vae(), 4)
    with pytest.raises(ValueError, match="16 channels, the model's have 4"):
        check_vae(tiny_vae(16), 4)
    with pytest.raises(ValueError, match="no VAE"):
        check_vae(None, 4)
    vae = tiny_vae()
    vae.latent_dim = 1
    with pytest.raises(ValueError, match="decodes no images"):
        check_vae(vae, 4)
    vae.latent_dim, vae.output_channels = 2, 2  # as ComfyUI describes its VAEs of stereo sound
    with pytest.raises(ValueError, match="decodes no images"):
        check_vae(vae, 4)
    vae.first_stage_model = None
    with pytest.raises(ValueError, match="no weights"):
        check_vae(vae, 4)


@pytest.mark.parametrize("fine", [False, True], ids=["kept", "blocks checkpointed"])
def test_each_block_of_a_decoder_is_told_forwards_and_in_backward(fine: bool) -> None:
    """By an independent count: of the calls of the decoder's residual blocks and attention, as core's own classes have them."""
    vae, ran, differentiated = tiny_vae(), list[int](), list[int]()
    blocks = [each for each in vae.first_stage_model.decoder.modules() if type(each).__name__ in ("ResnetBlock", "AttnBlock")]
    with torch.inference_mode(False), torch.enable_grad():
        leaf = latent(batch=1).requires_grad_()
        with told_of_blocks(vae, ran.append, differentiated.append):
            images = decode_with_grad(vae, leaf, as_inference=True, fine=fine)
        assert ran == [len(blocks)] * len(blocks)
        assert differentiated == []
        (gradient,) = torch.autograd.grad(images.sum(), leaf)
    assert len(ran) == len(blocks)  # what backward makes again is not told once more
    assert differentiated == ran
    with torch.inference_mode(False), torch.enable_grad():
        (alone,) = torch.autograd.grad(decode_with_grad(vae, leaf, as_inference=True, fine=fine).sum(), leaf)
    assert torch.equal(gradient, alone)


def test_nothing_is_told_of_a_compiled_decoder() -> None:
    """A hook would have it compiled again, once for each decode."""
    vae, ran = tiny_vae(), list[int]()
    vae.first_stage_model.decoder = torch.compile(vae.first_stage_model.decoder, backend="eager")
    with told_of_blocks(vae, ran.append):
        assert not any(each._forward_hooks for each in vae.first_stage_model.modules())
    assert ran == []
