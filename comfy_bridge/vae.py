"""Decoding latents with a gradient, through any VAE object that ComfyUI loads."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from comfy.ldm.modules.temporal_ae import VideoDecoder
from comfy.ldm.wan.vae import WanVAE
from torch import Tensor, nn

from ..latent_optimization.checkpointed_calls import blocks_of, checkpointed_blocks, differentiable_call
from ..latent_optimization.frames import Frames
from ..numerics.loss_scaling import scaled
from . import memory

# A decode with a gradient keeps its activations: so many times what core reckons for a decode. With its blocks checkpointed, about once.
RATIO = 4.0
NO_VAE = "There is no VAE: the objective judges images, so the latent has to be decoded. Connect the VAE of the model."


def check_vae(vae: Any, channels: int) -> None:
    """See that ``vae`` can decode latents of ``channels`` channels.

    Raises:
        ValueError: if there is none, or one that is for other latents or has no images to give.
    """
    if vae is None:
        raise ValueError(NO_VAE)
    if getattr(vae, "first_stage_model", None) is None:
        raise ValueError("This VAE has no weights. The checkpoint probably contains none: connect a Load VAE node.")
    if getattr(vae, "latent_dim", 2) not in (2, 3) or getattr(vae, "output_channels", 3) not in (1, 3, 4):
        raise ValueError("This VAE decodes no images (it is for audio or another kind of data); connect the VAE of the image model.")
    expected = getattr(vae, "latent_channels", channels)
    if expected != channels:
        raise ValueError(f"This VAE is for latents of {expected} channels, the model's have {channels}. Connect the VAE of this model.")


def decoding_bytes(vae: Any, latent: Tensor, frames: Frames | None = None, *, frames_are_batch: bool = False) -> float:
    """What :func:`decode_with_grad` takes of the same arguments with a gradient, in bytes."""
    return _estimate(vae, _decodable(vae, latent, frames or Frames(), frames_are_batch)[0]) * RATIO


def decode_with_grad(
    vae: Any,
    latent: Tensor,
    as_inference: bool | None = None,
    fine: bool = False,
    frames: Frames | None = None,
    *,
    frames_are_batch: bool = False,
) -> Tensor:
    """Decode latents to images, differentiable in the latents. Never in tiles, unlike ``VAE.decode`` when memory runs out.

    Args:
        vae: a ComfyUI VAE that fits the latents, see :func:`check_vae`.
        latent: ``(B, C, h, w)``, or ``(B, C, t, h, w)`` for a video VAE, as LATENT sockets carry it (after ``process_latent_out``).
        as_inference: whether weights are moved inside inference mode, as when they were loaded; ``None``: as the caller is now.
        fine: checkpoint each block even where memory seems to suffice.
        frames: which frames of a video are wanted; the default of :class:`Frames` where ``None``. A video VAE decodes them all.
        frames_are_batch: ``latent (T, C, h, w)`` is one video.

    Returns:
        ``(B, 3, H, W)`` float32 in [0, 1], on the VAE's device; ``(B * n, 3, H, W)`` where ``n`` frames of each video are wanted, those of
        one video together.

    Raises:
        ValueError: for a VAE that gives something else than images.
    """
    frames = frames or Frames()
    latent, wanted = _decodable(vae, latent, frames, frames_are_batch)
    if as_inference is None:
        as_inference = torch.is_inference_mode_enabled()
    needed = _estimate(vae, latent)
    with_grad = latent.requires_grad and torch.is_grad_enabled()
    memory.load([vae.patcher], needed * (RATIO if with_grad and not fine else 1.0), as_inference)
    fine = with_grad and (fine or needed * RATIO > vae.patcher.get_free_memory(vae.device))
    with checkpointed_blocks(checkpointed_part(vae.first_stage_model, latent)) if fine else contextlib.nullcontext():
        images = _decode(vae, latent, frames, together=wanted is not None)
    return images if wanted is None else images[wanted]


def _decodable(vae: Any, latent: Tensor, frames: Frames, frames_are_batch: bool) -> tuple[Tensor, list[int] | None]:
    """The latent as the VAE takes it, and which of the decoded images are wanted; ``None`` for all."""
    wanted: list[int] | None = frames.numbers(len(latent)) if frames_are_batch else None
    if wanted is not None and not _mixes_frames(vae):
        latent, wanted = latent[wanted], None
    if latent.ndim == 5 and vae.latent_dim == 2:
        latent = latent[:, :, 0]
    if latent.ndim == 4 and vae.latent_dim == 3:
        latent = latent.unsqueeze(2)
    return latent, wanted


def _estimate(vae: Any, latent: Tensor) -> float:
    """Core's, of a decode, which is for one of a batch."""
    return float(vae.memory_used_decode(latent.shape, vae.vae_dtype)) * len(latent)


def checkpointed_part(model: nn.Module, latent: Tensor) -> nn.Module:
    """What of a VAE's network has the blocks to checkpoint: its decoder, where that is called once.

    Several frames are decoded some at a time by most VAEs. Then the calls of the decoder are the blocks: what each keeps would add up. And
    video decoders may keep frames in their layers from call to call (LTXV's does), so that a layer alone cannot be run again; of those only
    Wan's, which Qwen-Image decodes with, hands them around as arguments.
    """
    decoder = getattr(model, "decoder", None)
    once = latent.ndim == 4 or (latent.shape[2] == 1 and isinstance(model, WanVAE))
    return decoder if once and isinstance(decoder, nn.Module) and blocks_of(decoder) else model


def _mixes_frames(vae: Any) -> bool:
    """Whether a VAE takes the batch for a video's frames, each of which depends on the others (SVD's own)."""
    return isinstance(getattr(vae.first_stage_model, "decoder", None), VideoDecoder)


def _decode(vae: Any, latent: Tensor, frames: Frames, *, together: bool) -> Tensor:
    model = vae.first_stage_model

    def decoded(latent: Tensor) -> Tensor:
        # A copy, since process_output writes in place into what backward may need.
        return model.decode(latent.to(device=vae.device, dtype=vae.vae_dtype)).to(dtype=torch.float32, copy=True)  # type: ignore[no-any-return]

    def differentiable(latent: Tensor) -> Tensor:
        # With what is detached in it: SeedVR2 decodes a few frames at a time, and detaches what it hands on to the next ones.
        return differentiable_call(decoded, latent, model, keep_history=True)

    with_grad = latent.requires_grad and torch.is_grad_enabled()
    if not with_grad:
        images = decoded(latent)
    elif together:  # as one of a batch of one: images that depend on each other have to have one scale
        images = scaled(lambda videos: differentiable(videos[0])[None], latent[None])[0]
    else:
        images = scaled(differentiable, latent)
    images = vae.process_output(images)
    if images.ndim == 5:
        images = images[:, :, frames.numbers(images.shape[2])].movedim(2, 1).flatten(0, 1)
    if images.ndim != 4 or images.shape[1] not in (1, 3, 4):
        raise ValueError(
            f"The VAE decoded to something of shape {tuple(images.shape)}; expected images with 1, 3 or 4 channels. Connect the VAE of the "
            "image model."
        )
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
