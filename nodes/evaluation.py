"""Numbers about finished images."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..comfy_bridge.layout import from_image
from ..comfy_bridge.reward_scores import reward_scores, table
from .guidance import prompts_of
from .sockets import Reward


class RewardScore(io.ComfyNode):
    """How good images are by a reward."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_RewardScore",
            display_name="Reward Score",
            category="SGOOL/evaluation",
            description="Tells how good each image is for the prompt by a reward; higher is better. Only numbers of one reward can be "
            "compared. CLIP's are cosines, mostly between 0.15 and 0.35.",
            search_aliases=[
                "clip score",
                "similarity",
                "pickscore",
                "evaluate",
                "metric",
                "sgool",
                "prompt adherence",
                "aesthetic",
                "reward",
            ],
            inputs=[
                Reward.Input("reward", tooltip="Judges the images. Best another one than they were optimized for."),
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
                io.Float.Output(display_name="scores", is_output_list=True, tooltip="One number for each image."),
                io.String.Output(display_name="table", tooltip="A line for each image."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, reward: Any, images: Any, prompt: str, prompt_per_line: bool = False) -> io.NodeOutput:
        prompts = prompts_of(prompt, prompt_per_line)
        scores = reward_scores(reward, from_image(images), prompts)
        text = table(scores, prompts)
        return io.NodeOutput(sum(scores) / len(scores), scores, text, ui={"text": (text,)})


NODES: list[type[io.ComfyNode]] = [RewardScore]
