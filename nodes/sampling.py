"""Sampling with optimized noise: SGOOL as a SAMPLER, as a KSampler, and its settings."""

from __future__ import annotations

import math
from typing import Any

from comfy_api.latest import io

from ..comfy_bridge.ksampler import sample as ksample
from ..comfy_bridge.latent_parts import like_latent
from ..comfy_bridge.outcome import plot_of_nothing
from ..comfy_bridge.sgool_sampler import SGOOLSampler
from ..comfy_bridge.vae import NO_VAE
from ..latent_optimization.presets import DEFAULT_PRESET, PRESETS, Preset, preset
from .ksampler_inputs import ksampler_inputs
from .settings import OptimizationSettingsNode
from .sockets import Objective, OptimizationSettings
from .widgets import with_known_choices

ALIASES = ["sgool", "saliency", "latent optimization", "noise optimization", "initial noise", "doodl", "guidance"]
ALIASES += ["improve prompt", "prompt alignment", "prompt adherence", "aesthetic", "better image", "reno"]
OBJECTIVE = "What to improve, such as Saliency CLIP Loss. Without one it samples plainly, and the report says so."
VAE = "The VAE of the model: the objective judges decoded images. Needed where an objective is connected."
HELD_OUT = "An objective that is only watched: another reward, asked before and after. The history says when it disagrees. Optional."
NOISE = "The optimized noise, from which the sampler alone gives the same latent."
PLOT = "Losses, their parts and gradient norms over the iterations, and images along the way."
TOP_K = "How many of the images that the run makes are returned, for each image of the batch: the one it chose, then the others by score. "
TOP_K += "With more than one, each iteration's image is decoded and scored once more."
SHEET = "Those returned, with rank, score and the noise or iteration that made each; where top_k is 1, a line that says so."
SCORES = "Of each image returned, where top_k is above 1: its loss without augmentations, times -1. Higher is better."
NO_SCORES = [math.nan]  # a list output without any would be an error where it is connected
HISTORY = "The same as numbers, with what it cost and anything worth knowing."
CSV = "Every number of the run, a line for each image and iteration: for Save Text (format csv), a spreadsheet or a data frame."


def _settings_inputs(procedure: str) -> list[io.Input]:
    names = sorted(PRESETS, key=lambda name: name != DEFAULT_PRESET)
    return [
        io.DynamicCombo.Input(
            "preset",
            options=[io.DynamicCombo.Option(name, [_iterations(PRESETS[name])]) for name in names],
            tooltip="How the noise is changed. 'search first' tries several noises and improves the best, 'balanced' the given one. "
            f"SGOOL and DOODL are the published procedure: {procedure} 'ReNO' takes ReNO's small steps, for models of one to four steps. "
            "Ignored where settings are connected.",
        ),
        OptimizationSettings.Input("settings", optional=True, tooltip="From SGOOL Settings: replaces preset and iterations."),
        Objective.Input("held_out", optional=True, tooltip=HELD_OUT),
    ]


def _iterations(of: Preset) -> io.Input:
    return io.Int.Input(
        "iterations",
        default=of.settings.iterations,
        min=0,
        max=10000,
        tooltip="How often the noise is improved. Each costs about as much as sampling three times. 0 samples plainly, without a search.",
    )


_NOT_CONNECTED = object()


def _vae_is_there(objective: Any, vae: Any) -> bool | str:
    """For ``validate_inputs``, before anything runs: a connected input is ``None`` there, and one that is not keeps its default.

    Core hands over ``preset`` as well, whether asked for or not, without what is in it.
    """
    return NO_VAE if objective is not _NOT_CONNECTED and vae is _NOT_CONNECTED else True


def _chosen(widget: dict[str, Any], settings: Preset | None) -> Preset:
    return preset(widget["preset"]).with_iterations(widget["iterations"]) if settings is None else settings


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
            outputs=[io.Sampler.Output(tooltip="A sampler that optimizes its noise first. SGOOL Report shows what it did.")],
        )

    @classmethod
    def validate_inputs(cls, preset: Any = None, objective: Any = _NOT_CONNECTED, vae: Any = _NOT_CONNECTED) -> bool | str:
        return _vae_is_there(objective, vae)

    @classmethod
    @with_known_choices()
    def execute(
        cls,
        *,
        sampler: Any,
        preset: dict[str, Any],
        objective: Any = None,
        vae: Any = None,
        settings: Preset | None = None,
        held_out: Any = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(SGOOLSampler(sampler, objective, vae, _chosen(preset, settings), held_out=held_out))


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
                *ksampler_inputs(
                    seed="The random seed of the noise that the optimization starts from, and of everything random in it.",
                    denoise="The amount of denoising applied; lower values keep more of the latent image. The noise is what is optimized.",
                ),
                Objective.Input("objective", optional=True, tooltip=OBJECTIVE),
                io.Vae.Input("vae", optional=True, tooltip=VAE),
                *_settings_inputs(
                    "its EDICT, 50 steps and CFG 7.5 replace sampler_name, steps and cfg, its 16 cutouts the objective's augmentations."
                ),
                io.Int.Input("top_k", default=1, min=1, max=1000, optional=True, tooltip=TOP_K),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The denoised latent."),
                io.Latent.Output(display_name="noise", tooltip=NOISE),
                io.Image.Output(display_name="plot", tooltip=PLOT),
                io.String.Output(display_name="history", tooltip=HISTORY),
                io.String.Output(display_name="csv", tooltip=CSV),
                io.Image.Output(display_name="contact_sheet", tooltip=SHEET),
                io.Float.Output(display_name="scores", is_output_list=True, tooltip=SCORES),
            ],
        )

    @classmethod
    def validate_inputs(cls, preset: Any = None, objective: Any = _NOT_CONNECTED, vae: Any = _NOT_CONNECTED) -> bool | str:
        return _vae_is_there(objective, vae)

    @classmethod
    @with_known_choices()
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
        preset: dict[str, Any],
        objective: Any = None,
        vae: Any = None,
        settings: Preset | None = None,
        held_out: Any = None,
        top_k: int = 1,
    ) -> io.NodeOutput:
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
            objective=objective,
            vae=vae,
            preset=_chosen(preset, settings),
            held_out=held_out,
            top_k=top_k,
        )
        outcome = sampled.outcome
        if outcome is None:
            nothing = plot_of_nothing("denoise is 0: nothing was sampled")
            told = (nothing, "Nothing was sampled.", "", nothing, NO_SCORES)
        else:
            told = (outcome.to_plot(), outcome.to_text(), outcome.to_csv(), outcome.to_sheet(), outcome.scores or NO_SCORES)
        return io.NodeOutput(sampled.latent, sampled.noise, *told, ui={"text": (told[1],)})


class SGOOLReportNode(io.ComfyNode):
    """What an SGOOL Sampler did in somebody else's sampling node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_Report",
            display_name="SGOOL Report",
            category="SGOOL/sampling",
            description="What an SGOOL Sampler did while another node (SamplerCustomAdvanced) sampled with it: noise, plot and history, as "
            "SGOOL KSampler has them.",
            search_aliases=["sgool", "report", "history", "plot", "loss curve", "optimized noise", "csv"],
            inputs=[
                io.Sampler.Input("sampler", tooltip="The SGOOL Sampler, the same link that goes to the node that samples."),
                io.Latent.Input("latent", tooltip="What that node made with it."),
            ],
            outputs=[
                io.Latent.Output(display_name="noise", tooltip=NOISE),
                io.Image.Output(display_name="plot", tooltip=PLOT),
                io.String.Output(display_name="history", tooltip=HISTORY),
                io.String.Output(display_name="csv", tooltip=CSV),
            ],
            is_output_node=True,  # so that it is run where its outputs go nowhere, and tells again what is cached
        )

    @classmethod
    def execute(cls, sampler: Any, latent: dict[str, Any]) -> io.NodeOutput:
        if not isinstance(sampler, SGOOLSampler):
            raise ValueError("This sampler keeps no record. Connect the SGOOL Sampler that the sampling node got.")
        outcome = sampler.outcomes.of(latent["samples"])
        text, noise = outcome.to_text(), {"samples": like_latent(outcome.noise, latent["samples"])}
        return io.NodeOutput(noise, outcome.to_plot(), text, outcome.to_csv(), ui={"text": (text,)})


NODES: list[type[io.ComfyNode]] = [SGOOLSamplerNode, SGOOLKSamplerNode, SGOOLReportNode, OptimizationSettingsNode]
