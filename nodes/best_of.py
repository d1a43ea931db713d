"""The best of several seeds, with the seeds."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..comfy_bridge.best_of_n import Best, best_of_n
from ..comfy_bridge.plain_runs import GuiderRun, KSamplerRun
from .ksampler_inputs import ksampler_inputs
from .sockets import Objective

ALIASES = ["sgool", "best of n", "best seed", "seed search", "rank", "top k", "contact sheet", "pick", "cherry pick", "successive halving"]


def _inputs() -> list[io.Input]:
    return [
        Objective.Input("objective", tooltip="Scores the images, such as Saliency CLIP Loss: the lower its loss, the better."),
        io.Vae.Input("vae", tooltip="The VAE of the model: the objective judges decoded images."),
        io.Int.Input(
            "seeds",
            default=8,
            min=1,
            max=1000,
            tooltip="How many seeds are tried: the seed and those that follow it. Each makes as many images as the latent's batch holds.",
        ),
        io.Int.Input("keep", default=1, min=1, max=1000, tooltip="How many images are returned, the best first."),
        io.Boolean.Input(
            "halving",
            default=False,
            tooltip="Successive halving: look at the images after a quarter and after half of the steps, and go on with the better half of "
            "the seeds. About half the steps; now and then it drops what would have become the best.",
        ),
    ]


def _outputs() -> list[io.Output]:
    return [
        io.Latent.Output(display_name="LATENT", tooltip="The images kept, the best first."),
        io.Image.Output(display_name="images", tooltip="The same, decoded."),
        io.Image.Output(display_name="contact_sheet", tooltip="All images, ranked, with score and seed; those kept are framed."),
        io.Float.Output(display_name="scores", is_output_list=True, tooltip="Of each image kept: its loss, times -1. Higher is better."),
        io.Int.Output(
            display_name="seeds", is_output_list=True, tooltip="Of each image kept: a plain sampler with this seed makes the same image."
        ),
        io.String.Output(display_name="table", tooltip="A line for each image, and what it cost."),
    ]


def _wrapped(best: Best) -> io.NodeOutput:
    scores, seeds = [each.score for each in best.kept], [each.seed for each in best.kept]
    table = best.ranking.to_text(best.keep)
    return io.NodeOutput(best.latent, best.images, best.sheet(), scores, seeds, table, ui={"text": (table,)})


class BestOfN(io.ComfyNode):
    """KSampler's widgets, for several seeds."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_BestOfN",
            display_name="SGOOL Best of N",
            category="SGOOL/sampling",
            description="Replaces a KSampler: tries several seeds, and returns the images that the objective likes best, ranked, with "
            "their seeds. A KSampler with such a seed makes the same image, bit for bit.",
            search_aliases=[*ALIASES, "ksampler"],
            inputs=[
                *ksampler_inputs(seed="The first of the seeds tried.", denoise="The amount of denoising applied, as in KSampler."),
                *_inputs(),
            ],
            outputs=_outputs(),
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, *, seed: int, latent_image: dict[str, Any], objective: Any, vae: Any, seeds: int, keep: int, halving: bool, **ksampler: Any
    ) -> io.NodeOutput:
        run = KSamplerRun(latent=latent_image, **ksampler)
        return _wrapped(best_of_n(run, seed=seed, seeds=seeds, keep=keep, halving=halving, objective=objective, vae=vae))


class BestOfNAdvanced(io.ComfyNode):
    """SamplerCustomAdvanced's inputs, for several seeds."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_BestOfNAdvanced",
            display_name="SGOOL Best of N (Advanced)",
            category="SGOOL/sampling",
            description="Replaces a SamplerCustomAdvanced, with any guider, sampler and schedule: tries the noise's seed and those that "
            "follow, and returns the images that the objective likes best, ranked, with their seeds.",
            search_aliases=[*ALIASES, "guider", "samplercustomadvanced"],
            inputs=[
                io.Noise.Input("noise", tooltip="RandomNoise, or another NOISE with a seed: the first of the seeds tried."),
                io.Guider.Input("guider", tooltip="As in SamplerCustomAdvanced."),
                io.Sampler.Input("sampler", tooltip="As in SamplerCustomAdvanced. May be an SGOOL Sampler, at its cost for each seed."),
                io.Sigmas.Input("sigmas", tooltip="As in SamplerCustomAdvanced."),
                io.Latent.Input("latent_image", tooltip="The latent image to denoise."),
                *_inputs(),
            ],
            outputs=_outputs(),
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        *,
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Any,
        latent_image: dict[str, Any],
        objective: Any,
        vae: Any,
        seeds: int,
        keep: int,
        halving: bool,
    ) -> io.NodeOutput:
        run = GuiderRun(noise, guider, sampler, sigmas, latent_image)
        return _wrapped(best_of_n(run, seed=noise.seed, seeds=seeds, keep=keep, halving=halving, objective=objective, vae=vae))


NODES: list[type[io.ComfyNode]] = [BestOfN, BestOfNAdvanced]
