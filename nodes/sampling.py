"""Sampling with optimized noise: SGOOL as a SAMPLER, as a KSampler, and its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io

from ..comfy_bridge.ksampler import sample as ksample
from ..comfy_bridge.plot import blank_plot, plot_image
from ..comfy_bridge.sgool_sampler import SGOOLSampler, check_vae_for
from ..latent_optimization.presets import DEFAULT_PRESET, PRESETS, Settings, preset
from .settings import OptimizationSettingsNode
from .sockets import Objective, OptimizationSettings

ALIASES = ["sgool", "saliency", "latent optimization", "latent optimization", "noise optimization", "doodl", "guidance"]
OBJECTIVE = "What to improve, such as Saliency CLIP Loss. Needed unless iterations is 0."
VAE = "The VAE of the model: the objective judges decoded images. Needed unless iterations is 0."


def _settings_inputs(procedure: str) -> list[io.Input]:
    return [
        io.Combo.Input(
            "preset",
            options=list(PRESETS),
            default=DEFAULT_PRESET,
            tooltip="How the noise is changed. 'search first' tries several noises and improves the best, 'balanced' the given one. "
            f"SGOOL and DOODL are the published procedure, meant for 50 iterations: {procedure} Ignored where settings are connected.",
        ),
        io.Int.Input(
            "iterations",
            default=-1,
            min=-1,
            max=10000,
            tooltip="How often the noise is improved. Each costs about as much as sampling three times. -1 takes the number that the "
            "preset or the settings have (search first: 5; balanced: 10; SGOOL, DOODL: 50). 0 samples plainly (settings: only search).",
        ),
        OptimizationSettings.Input("settings", optional=True, tooltip="From SGOOL Settings: replaces the preset."),
    ]


def _chosen(preset_name: str, iterations: int, settings: Settings | None) -> Settings:
    """The settings to run with. A preset with 0 iterations samples plainly; settings with 0 may still ask for a search."""
    if settings is None:
        chosen = preset(preset_name)
        return replace(chosen, iterations=0, best_of=1) if iterations == 0 else _with(chosen, iterations)
    return _with(settings, iterations)


def _with(settings: Settings, iterations: int) -> Settings:
    return settings if iterations < 0 else replace(settings, iterations=iterations)


class SGOOLSamplerNode(io.ComfyNode):
    """SAMPLER in, SAMPLER out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_Sampler",
            display_name="SGOOL Sampler",
            category="SGOOL/sampling",
            description="Wraps any sampler: before sampling, improves the noise so that the objective likes the image better. Goes "
            "wherever a SAMPLER goes (SamplerCustomAdvanced), with any model, guider, LoRA, ControlNet, schedule and mask.",
            search_aliases=ALIASES,
            inputs=[
                io.Sampler.Input("sampler", tooltip="The sampler that makes the image, from KSamplerSelect or any other sampler node."),
                Objective.Input("objective", optional=True, tooltip=OBJECTIVE),
                io.Vae.Input("vae", optional=True, tooltip=VAE),
                *_settings_inputs("its 16 cutouts replace the objective's augmentations; sampler, steps and CFG are other nodes' to set."),
            ],
            outputs=[io.Sampler.Output(tooltip="A sampler that optimizes its noise first.")],
        )

    @classmethod
    def execute(
        cls, *, sampler: Any, preset: str, iterations: int, objective: Any = None, vae: Any = None, settings: Settings | None = None
    ) -> io.NodeOutput:
        return io.NodeOutput(SGOOLSampler(sampler, objective, vae, _chosen(preset, iterations, settings)))


class SGOOLKSamplerNode(io.ComfyNode):
    """KSampler's widgets, then what SGOOL needs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_KSampler",
            display_name="SGOOL KSampler",
            category="SGOOL/sampling",
            description="Replaces a KSampler: improves the noise so that the objective likes the image better, then samples from it. "
            "With 0 iterations it is KSampler, bit for bit (with the presets SGOOL and DOODL: their sampler, not optimized).",
            search_aliases=[*ALIASES, "ksampler", "sample", "generate"],
            inputs=[
                io.Model.Input("model", tooltip="The model used for denoising the input latent."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The random seed of the noise that the optimization starts from, and of everything random in it.",
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="The number of steps used in the denoising process."),
                io.Float.Input(
                    "cfg",
                    default=8.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="The classifier-free guidance scale, as in KSampler.",
                ),
                io.Combo.Input("sampler_name", options=comfy.samplers.KSampler.SAMPLERS, tooltip="The algorithm used when sampling."),
                io.Combo.Input(
                    "scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip="How noise is gradually removed to form the image."
                ),
                io.Conditioning.Input("positive", tooltip="What the image should have."),
                io.Conditioning.Input("negative", tooltip="What the image should not have."),
                io.Latent.Input("latent_image", tooltip="The latent image to denoise."),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The amount of denoising applied; lower values keep more of the latent image. The noise is what is optimized.",
                ),
                Objective.Input("objective", optional=True, tooltip=OBJECTIVE),
                io.Vae.Input("vae", optional=True, tooltip=VAE),
                *_settings_inputs(
                    "its EDICT, 50 steps and CFG 7.5 replace sampler_name, steps and cfg, its 16 cutouts the objective's augmentations."
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The denoised latent."),
                io.Latent.Output(display_name="noise", tooltip="The optimized noise, from which the sampler alone gives the same latent."),
                io.Image.Output(display_name="plot", tooltip="Losses, their parts and gradient norms over the iterations."),
                io.String.Output(display_name="history", tooltip="The same as numbers, with what it cost and anything worth knowing."),
            ],
        )

    @classmethod
    def execute(
        cls,
        *,
        model: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        denoise: float,
        preset: str,
        iterations: int,
        objective: Any = None,
        vae: Any = None,
        settings: Settings | None = None,
    ) -> io.NodeOutput:
        chosen = _chosen(preset, iterations, settings)

        def wrap(sampler: comfy.samplers.Sampler) -> SGOOLSampler:
            wrapped = SGOOLSampler(sampler, objective, vae, chosen)
            if wrapped.optimizes:
                check_vae_for(model, vae)
            return wrapped

        sampled = ksample(
            model=model,
            seed=seed,
            steps=steps,
            cfg=cfg,
            sampler_name=sampler_name,
            scheduler=scheduler,
            positive=positive,
            negative=negative,
            latent=latent_image,
            denoise=denoise,
            wrap=wrap,
            procedure=chosen.procedure,
        )
        if sampled.outcome is None:
            return io.NodeOutput(sampled.latent, sampled.noise, blank_plot("denoise is 0: nothing was sampled"), "Nothing was sampled.")
        history = sampled.outcome.history
        plot: torch.Tensor = plot_image(history) if history.rows or history.candidates else blank_plot("nothing was optimized")
        return io.NodeOutput(sampled.latent, sampled.noise, plot, sampled.outcome.to_text())


NODES: list[type[io.ComfyNode]] = [SGOOLSamplerNode, SGOOLKSamplerNode, OptimizationSettingsNode]
