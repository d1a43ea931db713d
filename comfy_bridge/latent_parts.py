"""What of a sampler's tensors is one image or video to the optimizer, and back.

A sampler's batch is mostly a batch of images or videos. SVD and SV3D take the frames of one video for a batch, and a model of video and
sound gets both as one flat pack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import comfy.model_base
import comfy.utils
import torch
from torch import Tensor


class Parts:
    """How a sampler's noise and latents become the optimizer's, whose first dimension is one entry for each image or video.

    This one is for a batch of images or videos, where nothing has to be done. All methods are differentiable.

    Attributes:
        frames_are_batch: the sampler's batch is one video, as is what is decoded.
    """

    frames_are_batch = False

    def noise(self, sampled: Tensor) -> Tensor:
        """The optimizer's noise ``(B, C, ...)``, of the sampler's."""
        return sampled

    def whole_noise(self, noise: Tensor) -> Tensor:
        """The sampler's noise, of the optimizer's."""
        return noise

    def latents(self, sampled: Tensor) -> Tensor:
        """What the sampler returned, with an entry for each of the optimizer's."""
        return sampled

    def sampled(self, latents: Tensor) -> Tensor:
        """What the sampler returned, of one or all of the optimizer's entries."""
        return latents

    def for_decoder(self, latents: Tensor) -> Tensor:
        """What the VAE decodes, of what the sampler returned in the VAE's space."""
        return latents


class FramesAreBatch(Parts):
    """The sampler's batch ``(T, C, h, w)`` is one video of ``T`` frames: one loss, one norm, one step."""

    frames_are_batch = True

    def noise(self, sampled: Tensor) -> Tensor:
        """``(1, C, T, h, w)``, as other videos are."""
        return sampled.movedim(0, 1)[None]

    def whole_noise(self, noise: Tensor) -> Tensor:
        """``(T, C, h, w)``."""
        return noise[0].movedim(1, 0).contiguous()  # as the model gets it from others, to the last bit

    def latents(self, sampled: Tensor) -> Tensor:
        """``(1, T, ...)``."""
        return sampled[None]

    def sampled(self, latents: Tensor) -> Tensor:
        """``(T, ...)``."""
        return latents[0]


class FirstOfSeveral(Parts):
    """Of a pack ``(B, 1, N)`` of several latents the first is optimized: the video, which VAE Decode decodes too. The others' noise stays.

    Args:
        shape: of the first latent, with its batch.
        pack: the sampler's noise.
    """

    def __init__(self, shape: Sequence[int], pack: Tensor) -> None:
        self._shape, self._size = tuple(shape[1:]), math.prod(shape[1:])
        with torch.inference_mode(False):
            self._others = pack[..., self._size :].clone()

    def noise(self, sampled: Tensor) -> Tensor:
        """``(B, C, ...)``."""
        return self.for_decoder(sampled)

    def whole_noise(self, noise: Tensor) -> Tensor:
        """``(B, 1, N)``."""
        return torch.cat([noise.reshape(len(noise), 1, -1), self._others.to(noise)], dim=-1)

    def for_decoder(self, latents: Tensor) -> Tensor:
        """``(B, C, ...)``."""
        return latents[..., : self._size].reshape(len(latents), *self._shape)


def parts_of(model_wrap: Any, noise: Tensor) -> Parts:
    """How the optimizer sees the latents of a guider's model, whose sampler was given ``noise``."""
    if isinstance(model_wrap.inner_model, comfy.model_base.SVD_img2vid):
        return FramesAreBatch()
    shapes = _packed_shapes(model_wrap)
    fits = noise.ndim == 3 and sum(math.prod(shape[1:]) for shape in shapes) == noise.shape[-1]
    return FirstOfSeveral(shapes[0], noise) if len(shapes) > 1 and fits else Parts()


def _packed_shapes(model_wrap: Any) -> list[Sequence[int]]:
    """The shapes of the latents in a pack, which core hands to the model with its conditioning; empty where there is none."""
    entries = [entry for entries in getattr(model_wrap, "conds", {}).values() for entry in entries or ()]
    found = [entry.get("model_conds", {}).get("latent_shapes") for entry in entries]
    return next((list(shapes.cond) for shapes in found if shapes is not None), [])


def like_latent(noise: Tensor, latent: Any) -> Any:
    """The sampler's noise as a LATENT's ``samples`` of the kind of ``latent``: with several parts where that has them."""
    if not latent.is_nested:
        return noise
    import comfy.nested_tensor

    return comfy.nested_tensor.NestedTensor(comfy.utils.unpack_latents(noise, [part.shape for part in latent.unbind()]))
