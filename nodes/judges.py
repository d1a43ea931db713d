"""Rewards that are asked rather than differentiated."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..comfy_bridge.vlm_reward import VLMReward
from .sockets import Reward


class RewardFromVLM(io.ComfyNode):
    """A vision-language model that ComfyUI has loaded becomes a reward."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_RewardFromVLM",
            display_name="Reward from VLM",
            category="SGOOL/guidance",
            description="Asks a vision-language model, loaded as a text encoder, whether the image shows the prompt; the chance of yes "
            "is the reward. For choosing and watching: it has no gradient.",
            search_aliases=["vqa score", "vqascore", "qwen3-vl", "qwen vl", "vlm", "judge", "sgool", "scorer", "reward", "question"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="From CLIP Loader: Qwen3-VL 4B or 8B. Not Qwen2.5-VL, which ComfyUI loads without the layer that answers.",
                )
            ],
            outputs=[Reward.Output(display_name="reward", tooltip="For Reward Score, and where images are chosen. It has no gradient.")],
        )

    @classmethod
    def execute(cls, clip: Any) -> io.NodeOutput:
        return io.NodeOutput(VLMReward(clip))


NODES: list[type[io.ComfyNode]] = [RewardFromVLM]
