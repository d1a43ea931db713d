"""Numbers about finished images."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..comfy_bridge.clip_score import clip_score, table
from ..comfy_bridge.layout import from_image
from .guidance import prompts_of
from .sockets import CLIPScorer


class CLIPScore(io.ComfyNode):
    """How well images fit a prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_CLIPScore",
            display_name="CLIP Score",
            category="SGOOL/evaluation",
            description="Tells how well each image fits the prompt: the cosine between their vectors, from -1 to 1. Only numbers of one "
            "scorer can be compared. CLIP's are mostly between 0.15 and 0.35.",
            search_aliases=["clip score", "similarity", "pickscore", "evaluate", "metric", "sgool", "prompt adherence"],
            inputs=[
                CLIPScorer.Input("clip_scorer", tooltip="Judges the images. Best another one than they were optimized for."),
                io.Image.Input("images", tooltip="One image or many."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What the images are to show. Weights such as (red:1.2) are left out.",
                ),
                io.Boolean.Input(
                    "prompt_per_line",
                    default=False,
                    advanced=True,
                    tooltip="Each line belongs to one image. Off: it is one prompt for all.",
                ),
            ],
            outputs=[
                io.Float.Output(display_name="mean", tooltip="The mean of all images."),
                io.Float.Output(display_name="similarities", is_output_list=True, tooltip="One number for each image."),
                io.String.Output(display_name="table", tooltip="A line for each image."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, clip_scorer: Any, images: Any, prompt: str, prompt_per_line: bool = False) -> io.NodeOutput:
        prompts = prompts_of(prompt, prompt_per_line)
        scores = clip_score(clip_scorer, from_image(images), prompts)
        text = table(scores, prompts)
        return io.NodeOutput(sum(scores) / len(scores), scores, text, ui={"text": (text,)})


NODES: list[type[io.ComfyNode]] = [CLIPScore]
