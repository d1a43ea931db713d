"""Whether a model can be optimized for at all, seen before anything is computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .latent_parts import Parts
from .vae import check_vae


def check_fits(model_wrap: Any, noise: Tensor, vae: Any, parts: Parts) -> None:
    """See that latent and VAE are those of the model, before anything is computed. Raises ``ValueError`` with a sentence."""
    optimized = parts.noise(noise)
    if optimized.ndim not in (4, 5):
        raise ValueError(
            f"This model's latent is no image's: its shape in the sampler is {tuple(optimized.shape)} (sound, or a 3D shape). "
            "SGOOL optimizes latents of images and videos; set iterations to 0 to sample plainly."
        )
    check_latent(model_wrap.inner_model, noise)
    check_noise_is_used(model_wrap.inner_model, noise)
    check_vae(vae, decoded_channels(model_wrap.inner_model, noise, parts))


def check_latent(base_model: Any, latent: Tensor) -> None:
    """See that a latent ``(B, C, ...)`` in the sampler is of the model's kind. Raises ``ValueError`` with a sentence."""
    channels = base_model.latent_format.latent_channels
    advice = "Encode the image with the VAE of this model (VAE Encode), or connect an empty latent."
    if latent.ndim != 3 and latent.shape[1] != channels:  # of a pack, the VAE is asked
        raise ValueError(
            f"The latent has {latent.shape[1]} channels, but this model's latents have {channels}: it is of another model. {advice}"
        )
    if latent.ndim == 5 and base_model.latent_format.latent_dimensions == 2:
        raise ValueError(f"The latent is a video's, of the shape {tuple(latent.shape)}, but this model makes images. {advice}")


def decoded_channels(base_model: Any, noise: Tensor, parts: Parts | None = None) -> int:
    """Channels of what the VAE gets, where the sampler's latent has the shape of ``noise``.

    They differ where the model's latent format rearranges: HunyuanImage 2.1's refiner samples two frames as one of twice the channels.
    """
    sample = torch.zeros(1, *noise.shape[1:])
    with torch.no_grad():
        return int((parts or Parts()).for_decoder(base_model.process_latent_out(sample)).shape[1])


def check_noise_is_used(base_model: Any, noise: Tensor) -> None:
    """See that the model starts from noise. Raises ``ValueError`` with a sentence where it starts from the latent image alone."""
    sampling = base_model.model_sampling
    latent, sigma = torch.zeros(1, *noise.shape[1:]), torch.as_tensor(float(sampling.sigma_max))
    with torch.no_grad():
        without, with_noise = (sampling.noise_scaling(sigma, torch.full_like(latent, value), latent, True) for value in (0.0, 1.0))
    if torch.equal(without, with_noise):
        raise ValueError(
            "This model transforms its latent image and uses no noise (such as Wan FlowRVS), so there is no noise to optimize. "
            "Set iterations to 0 to sample plainly."
        )


def model_remarks(base_model: Any, noise: Tensor) -> list[str]:
    """What a model itself has to say of being sampled from noise of this shape: the demo model has, see ``demo/loader.py``."""
    remarks = getattr(base_model, "remarks_on", None)
    return [] if remarks is None else list(remarks(noise))
