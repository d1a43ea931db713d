"""One seed sampled exactly as core's KSampler or SamplerCustomAdvanced does it, with any SAMPLER in the sampler's place."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from .suitability import check_latent, decoded_channels
from .vae import check_vae

NESTED = "This latent has several parts (such as image and sound), which cannot be ranked; sample each seed with the node that you had."
NO_SEED = "This NOISE ({kind}) has no seed that could be changed, so every seed would make the same image; connect RandomNoise."
NO_STEPS = "There are no steps to sample: denoise is 0, or the sigmas are empty."
_OF_EMPTY_LATENTS = ("downscale_ratio_spacial", "downscale_ratio_temporal")


def fixed_latent(patcher: Any, latent: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The ``samples`` of a LATENT as core's samplers take them for a model, and the LATENT without what was only needed for that."""
    image = comfy.sample.fix_empty_latent_channels(patcher, latent["samples"], *(latent.get(name) for name in _OF_EMPTY_LATENTS))
    return image, {key: value for key, value in latent.items() if key not in _OF_EMPTY_LATENTS}


def joined(latent: dict[str, Any], chosen: Sequence[tuple[int, Tensor]], batch: int) -> dict[str, Any]:
    """A LATENT of entries chosen from several of a LATENT's kind.

    Args:
        latent: that they were made for.
        chosen: each with its place in the batch that it is from; its noise mask is the place's own.
        batch: how many entries ``latent`` has; 1 for one video whose frames are the batch, which keeps its mask.
    """
    rest = {key: value for key, value in latent.items() if key not in ("samples", "batch_index", "noise_mask")}
    mask = latent.get("noise_mask")
    if mask is not None:
        rest["noise_mask"] = mask if batch == 1 or len(mask) < batch else mask[[place for place, _ in chosen]]
    return {**rest, "samples": torch.cat([samples for _, samples in chosen])}


class PlainRun(ABC):
    """Samples one seed; what the two of them have in common.

    Args:
        patcher: the MODEL.
        sampler: the SAMPLER by itself.
        sigmas: ``(steps + 1,)``.
        latent: the LATENT that is sampled from.

    Attributes:
        sampler: as given.
        steps: of the schedule.
        frames_are_batch: a seed makes one video, whose frames are the sampler's batch (SVD, SV3D).
        batch: how many images or videos one seed makes.

    Raises:
        ValueError: without steps, or for a latent of several parts or of another model.
    """

    def __init__(self, patcher: Any, sampler: comfy.samplers.Sampler, sigmas: Tensor, latent: dict[str, Any]) -> None:
        if len(sigmas) < 2:
            raise ValueError(NO_STEPS)
        if latent["samples"].is_nested:
            raise ValueError(NESTED)
        self._image, self._latent = fixed_latent(patcher, latent)
        check_latent(patcher.model, self._image)
        self._patcher, self._sigmas = patcher, sigmas
        self.sampler, self.steps = sampler, len(sigmas) - 1
        self.frames_are_batch = isinstance(patcher.model, comfy.model_base.SVD_img2vid)
        self.batch = 1 if self.frames_are_batch else len(self._image)

    def check_decoder(self, vae: Any) -> None:
        """See that ``vae`` decodes the model's latents to images. Raises ``ValueError`` with a sentence."""
        check_vae(vae, decoded_channels(self._patcher.model, self._image))

    @abstractmethod
    def sample(self, seed: int, sampler: comfy.samplers.Sampler, callback: Callable[..., None]) -> Tensor:
        """The ``samples`` of the LATENT that core's node returns for a seed. ``callback``: as samplers take it."""

    def decodable(self, estimate: Tensor) -> Tensor:
        """What the model takes for the clean latent, ``(B, ...)`` in its own space, as a LATENT has it."""
        with torch.no_grad():
            samples: Tensor = self._patcher.model.process_latent_out(estimate.float())
        return samples.to(comfy.model_management.intermediate_device())

    def entries(self, samples: Tensor) -> list[Tensor]:
        """A seed's ``samples``, one image or video each."""
        return [samples] if self.frames_are_batch else list(samples.split(1))

    def joined(self, chosen: Sequence[tuple[int, Tensor]]) -> dict[str, Any]:
        """A LATENT of chosen entries, each with its place in the batch that it is from; its noise mask is the places' own."""
        return joined(self._latent, chosen, 1 if self.frames_are_batch else self.batch)


class KSamplerRun(PlainRun):
    """As core's KSampler. The arguments are its own."""

    def __init__(
        self,
        *,
        model: Any,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Any,
        negative: Any,
        latent: dict[str, Any],
        denoise: float,
    ) -> None:
        options: dict[str, Any] = {"sampler": sampler_name, "scheduler": scheduler, "denoise": denoise}
        ksampler = comfy.samplers.KSampler(model, steps=steps, device=model.load_device, model_options=model.model_options, **options)
        super().__init__(model, comfy.samplers.sampler_object(ksampler.sampler), ksampler.sigmas, latent)
        self._cfg, self._positive, self._negative = cfg, positive, negative

    def sample(self, seed: int, sampler: comfy.samplers.Sampler, callback: Callable[..., None]) -> Tensor:
        """See :class:`PlainRun`."""
        noise = comfy.sample.prepare_noise(self._image, seed, self._latent.get("batch_index"))
        return comfy.sample.sample_custom(
            self._patcher,
            noise,
            self._cfg,
            sampler,
            self._sigmas,
            self._positive,
            self._negative,
            self._image,
            noise_mask=self._latent.get("noise_mask"),
            callback=callback,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )


class GuiderRun(PlainRun):
    """As core's SamplerCustomAdvanced, whose arguments these are. Seeds count up from the noise's own."""

    def __init__(self, noise: Any, guider: Any, sampler: comfy.samplers.Sampler, sigmas: Tensor, latent: dict[str, Any]) -> None:
        super().__init__(guider.model_patcher, sampler, sigmas, latent)
        if not isinstance(getattr(noise, "seed", None), int) or type(noise).__name__ == "Noise_EmptyNoise":
            raise ValueError(NO_SEED.format(kind=type(noise).__name__))
        self._noise, self._guider = noise, guider

    def sample(self, seed: int, sampler: comfy.samplers.Sampler, callback: Callable[..., None]) -> Tensor:
        """See :class:`PlainRun`."""
        noise = copy.copy(self._noise)
        noise.seed = seed
        samples: Tensor = self._guider.sample(
            noise.generate_noise({**self._latent, "samples": self._image}),
            self._image,
            sampler,
            self._sigmas,
            denoise_mask=self._latent.get("noise_mask"),
            callback=callback,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
        return samples.to(comfy.model_management.intermediate_device())
