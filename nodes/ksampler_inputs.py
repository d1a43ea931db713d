"""The inputs of core's KSampler, in its order and with its defaults and ranges, for the nodes that go in its place."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io


def ksampler_inputs(seed: str, denoise: str) -> list[io.Input]:
    """All ten.

    Args:
        seed: its tooltip, since what else it decides is the node's own.
        denoise: likewise.
    """
    return [
        io.Model.Input("model", tooltip="The model used for denoising the input latent."),
        io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip=seed),
        io.Int.Input("steps", default=20, min=1, max=10000, tooltip="The number of steps used in the denoising process."),
        io.Float.Input(
            "cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="The classifier-free guidance scale, as in KSampler."
        ),
        io.Combo.Input("sampler_name", options=comfy.samplers.KSampler.SAMPLERS, tooltip="The algorithm used when sampling."),
        io.Combo.Input(
            "scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip="How noise is gradually removed to form the image."
        ),
        io.Conditioning.Input("positive", tooltip="What the image should have."),
        io.Conditioning.Input("negative", tooltip="What the image should not have."),
        io.Latent.Input("latent_image", tooltip="The latent image to denoise."),
        io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=denoise),
    ]
