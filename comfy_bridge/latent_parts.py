"""What of a sampler's tensors is one image or video to the optimizer, and back.

A sampler's batch is mostly a batch of images or videos. SVD and SV3D take the frames of one video for a batch.
"""

from __future__ import annotations

from typing import Any, Protocol

import comfy.model_base
from torch import Tensor


class Parts(Protocol):
    """How a sampler's noise and latents become the optimizer's, whose first dimension is one entry for each image or video.

    Attributes:
        frames_are_batch: the sampler's batch is one video, as is what is decoded.
    """

    frames_are_batch: bool

    def noise(self, sampled: Tensor) -> Tensor:
        """The optimizer's noise ``(B, C, ...)``, of the sampler's."""

    def whole_noise(self, noise: Tensor) -> Tensor:
        """The sampler's noise, of the optimizer's; differentiable."""

    def latents(self, sampled: Tensor) -> Tensor:
        """What the sampler returned, with an entry for each of the optimizer's; differentiable."""

    def sampled(self, latents: Tensor) -> Tensor:
        """What the sampler returned, of one or all of the optimizer's entries; differentiable."""


class Separate:
    """Each entry of the sampler's batch is an image or a video."""

    frames_are_batch = False

    def noise(self, sampled: Tensor) -> Tensor:
        """As it is."""
        return sampled

    def whole_noise(self, noise: Tensor) -> Tensor:
        """As it is."""
        return noise

    def latents(self, sampled: Tensor) -> Tensor:
        """As they are."""
        return sampled

    def sampled(self, latents: Tensor) -> Tensor:
        """As they are."""
        return latents


class FramesAreBatch:
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


def parts_of(model_wrap: Any) -> Parts:
    """How the optimizer sees the latents of a guider's model."""
    return FramesAreBatch() if isinstance(model_wrap.inner_model, comfy.model_base.SVD_img2vid) else Separate()
