"""Reversible sampling: the solvers as a SAMPLER, and from an image back to its noise."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.samplers
import torch
from comfy_api.latest import io

from ..comfy_bridge.inversion import PAIR, invert, reversible
from ..comfy_bridge.layout import from_image
from ..comfy_bridge.noise_objects import GivenNoise
from ..comfy_bridge.reversible_samplers import PRECISIONS, ReversibleSampler
from ..latent_optimization.reversible import BDIA, EDICT, OBELM, SOLVERS, McCallumFoster, Solver

CATEGORY = "SGOOL/sampling"
ONE_SOURCE = "Connect either an image (with the VAE) or a latent."
VAE_FOR_IMAGE = "The image has to be encoded: connect the VAE of the model."
_NOT_CONNECTED = object()
ALIASES = ["sgool", "reversible", "invertible", "inversion", "edict", "bdia", "belm", "o-belm", "rex", "mccallum foster", "doodl"]


class ReversibleSamplerNode(io.ComfyNode):
    """A solver and its parameters to a SAMPLER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_ReversibleSampler",
            display_name="SGOOL Reversible Sampler",
            category=CATEGORY,
            description="A sampler that can be run backwards, from an image to its noise, and that SGOOL Sampler optimizes through in "
            "memory that does not grow with the steps. Works wherever a SAMPLER does, with eps, v and flow models.",
            search_aliases=ALIASES,
            inputs=[
                io.Combo.Input(
                    "solver",
                    options=list(SOLVERS),
                    default="EDICT",
                    tooltip="EDICT is what DOODL and SGOOL were published with. BDIA and O-BELM need half its model calls and are more "
                    "accurate at the same number of steps; McCallum-Foster is the most stable when run backwards.",
                ),
                io.Float.Input(
                    "mix",
                    default=EDICT().mix,
                    min=0.5,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="EDICT only: how much each of its two states keeps of itself in a step. Nearer to 1 inverts better.",
                ),
                io.Float.Input(
                    "gamma",
                    default=BDIA().gamma,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    round=False,
                    tooltip="BDIA only. 1 inverts; below 1, running backwards multiplies rounding by 1 / gamma in each step.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="float64",
                    tooltip="Of the sampler's own arithmetic, not of the model. float64 costs nothing noticeable, and is what makes "
                    "running backwards exact with half-precision models. float32 where the device has no float64.",
                    advanced=True,
                ),
                io.Latent.Input("noise", optional=True, tooltip="From SGOOL Invert Image to Noise: start from its coupled pair."),
            ],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustom, SamplerCustomAdvanced, SGOOL Sampler and SGOOL Invert Image to Noise.")],
        )

    @classmethod
    def execute(cls, solver: str, mix: float, gamma: float, precision: str, noise: dict[str, Any] | None = None) -> io.NodeOutput:
        pair = None if noise is None else noise.get(PAIR)
        if noise is not None and pair is None:
            raise ValueError("This noise has no coupled pair. Connect the noise of SGOOL Invert Image to Noise, or nothing.")
        return io.NodeOutput(ReversibleSampler(_solver(solver, mix, gamma), precision, pair))


def _solver(name: str, mix: float, gamma: float) -> Solver:
    made: dict[str, Solver] = {"EDICT": EDICT(mix), "BDIA": BDIA(gamma), "O-BELM": OBELM(), "McCallum-Foster": McCallumFoster()}
    return made[name]


class InvertImage(io.ComfyNode):
    """From an image to the noise that the model makes it of."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_InvertImage",
            display_name="SGOOL Invert Image to Noise",
            category=CATEGORY,
            description="Finds the noise from which a reversible sampler makes a given image, so that a real image can be edited: "
            "sampling that noise again with another prompt changes it, and SGOOL Sampler optimizes it for an objective.",
            search_aliases=[*ALIASES, "invert image", "ddim inversion", "image to noise", "real image editing", "unsampler"],
            inputs=[
                io.Model.Input("model", tooltip="The model used for denoising, as when sampling."),
                io.Sampler.Input("sampler", tooltip="From SGOOL Reversible Sampler. Others cannot be run backwards and are refused."),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="The number of steps used in the denoising process."),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="The classifier-free guidance scale, as when sampling. Low values give noise that looks like noise; high ones "
                    "may run away.",
                ),
                io.Combo.Input(
                    "scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip="How noise is gradually removed to form the image."
                ),
                io.Conditioning.Input("positive", tooltip="What the image shows."),
                io.Conditioning.Input("negative", tooltip="What the image does not show."),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="How far back to go: lower values stop before the image is all noise, and keep more of it in an edit.",
                ),
                io.Image.Input("image", optional=True, tooltip="The image; needs the VAE."),
                io.Vae.Input("vae", optional=True, tooltip="The VAE of the model, to encode the image."),
                io.Latent.Input("latent", optional=True, tooltip="Instead of an image: its latent."),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="noise",
                    tooltip="The noise, with the coupled pair. Goes to SGOOL Noise from Latent, and to SGOOL Reversible Sampler.",
                ),
                io.Sampler.Output(
                    display_name="sampler", tooltip="The sampler, starting from the coupled pair: with it the image comes back."
                ),
                io.Sigmas.Output(display_name="sigmas", tooltip="The schedule of the inversion, to sample with."),
                io.Latent.Output(display_name="latent", tooltip="The latent that was inverted, for latent_image. A mask may be set on it."),
                io.String.Output(display_name="report", tooltip="What to expect of it: warnings, the noise's standard deviation."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, model: Any = None, image: Any = _NOT_CONNECTED, vae: Any = _NOT_CONNECTED, latent: Any = _NOT_CONNECTED
    ) -> bool | str:
        # A connected input is None here. Core asks only where one of these is in the graph, and of these only the model always is; a
        # widget in its place would lose core's own check of its range.
        if (image is _NOT_CONNECTED) == (latent is _NOT_CONNECTED):
            return ONE_SOURCE
        return VAE_FOR_IMAGE if latent is _NOT_CONNECTED and vae is _NOT_CONNECTED else True

    @classmethod
    def execute(
        cls,
        *,
        model: Any,
        sampler: Any,
        steps: int,
        cfg: float,
        scheduler: str,
        positive: Any,
        negative: Any,
        denoise: float,
        image: torch.Tensor | None = None,
        vae: Any = None,
        latent: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        chosen = reversible(sampler)
        if (image is None) == (latent is None):
            raise ValueError(ONE_SOURCE)
        if image is not None and vae is None:
            raise ValueError(VAE_FOR_IMAGE)
        sigmas = _sigmas(model, scheduler, steps, denoise)
        image = None if image is None else _encodable(image)
        remark = "" if image is None else _cropped(vae, image)
        source = {"samples": vae.encode(image)} if latent is None else latent
        samples = comfy.sample.fix_empty_latent_channels(model, source["samples"])
        found = invert(model=model, positive=positive, negative=negative, cfg=cfg, sampler=chosen, sigmas=sigmas, latent=samples)
        return io.NodeOutput(
            {"samples": found.noise, PAIR: found.pair},
            chosen.with_pair(found.pair),
            sigmas,
            {**source, "samples": samples},
            found.to_text() + remark,
        )


def _encodable(image: torch.Tensor) -> torch.Tensor:
    """Gray in three channels; alpha stays, for a VAE that encodes it. Raises ``ValueError`` for what is no image."""
    colors = from_image(image).movedim(1, -1)
    return colors if image.ndim == 3 or image.shape[-1] == 1 else image


def _cropped(vae: Any, image: torch.Tensor) -> str:
    """What core's VAE leaves out of an image whose size it cannot take, as a line, or nothing; ``ValueError`` where nothing is left."""
    (height, width), (high, wide) = image.shape[1:3], vae.vae_encode_crop_pixels(image).shape[1:3]
    if not (high and wide):
        raise ValueError(f"The image has {width} x {height} pixels, fewer than this VAE can encode: scale it up before.")
    if (wide, high) == (width, height):
        return ""
    return f"\nThe VAE cannot take {width} x {height} pixels: the middle {wide} x {high} were encoded. Crop or scale the image to keep all."


def _sigmas(model: Any, scheduler: str, steps: int, denoise: float) -> torch.Tensor:
    """As core's BasicScheduler makes them."""
    total = steps if denoise >= 1.0 else int(steps / denoise)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, total)
    return sigmas.cpu()[-(steps + 1) :]


class NoiseFromLatent(io.ComfyNode):
    """A LATENT's samples as NOISE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_NoiseFromLatent",
            display_name="SGOOL Noise from Latent",
            category=CATEGORY,
            description="Samples from given noise instead of a seed's: the noise found by SGOOL Invert Image to Noise, or the optimized "
            "noise of SGOOL KSampler. For SamplerCustomAdvanced.",
            search_aliases=["noise", "latent to noise", "custom noise", "given noise", "sgool"],
            inputs=[
                io.Latent.Input("noise", tooltip="Its samples are the noise, of standard deviation 1."),
                io.Int.Input(
                    "noise_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="For what else is random in sampling: samplers that draw noise, the augmentations of an objective.",
                ),
            ],
            outputs=[io.Noise.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, noise: dict[str, Any], noise_seed: int) -> io.NodeOutput:
        return io.NodeOutput(GivenNoise(noise["samples"], noise_seed))


NODES: list[type[io.ComfyNode]] = [ReversibleSamplerNode, InvertImage, NoiseFromLatent]
