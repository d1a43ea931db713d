"""Objectives: what images are to become, for the optimizer and on their own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from comfy_api.latest import io

from ..comfy_bridge.folders import register_rewards, reward_paths, why_no_reward
from ..comfy_bridge.layout import from_mask
from ..comfy_bridge.rewards import download_reward, kept_reward, load_reward, plain_prompt, reward_from_clip_and_vision
from ..comfy_bridge.saliency import default_predictor
from ..guidance.augmentations import Augmentations
from ..guidance.objective import BALANCES, WeightedSum
from ..guidance.reno import RENO, reno_terms
from ..guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss
from ..rewards import registry
from .sockets import Objective, Reward, SaliencyModel
from .widgets import widgets_of

NONE = "none"
DTYPES = {"default": torch.float32, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MOST_OBJECTIVES = 5
MAX_WEIGHT = 1000.0
RENAMED = {"kind": "augmentation", "count": "augmentation_count"}
_NOT_CONNECTED = object()
FOR_OBJECTIVES = "For Saliency CLIP Loss and Reward Score."

register_rewards()


def prompts_of(prompt: str, prompt_per_line: bool) -> list[str]:
    """The sentences of a prompt widget, without CLIPTextEncode's weights and embeddings; an empty prompt stays, to be complained about."""
    if not prompt_per_line:
        return [plain_prompt(" ".join(prompt.split()))]
    return [plain_prompt(line) for line in prompt.splitlines() if line.strip()] or [""]


class LoadReward(io.ComfyNode):
    """A file, a folder or a hub name becomes a reward."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = list(reward_paths())
        return io.Schema(
            node_id="SGOOL_LoadReward",
            display_name="Load Reward",
            category="SGOOL/guidance",
            description="Loads a model that tells how good an image is for a prompt, from models/rewards: "
            + ", ".join(registry.available())
            + ". What a file is, is recognized by what is in it.",
            search_aliases=["clip score", "pickscore", "siglip", "reward model", "hps", "preference", "aesthetic", "sgool", "scorer"],
            inputs=[
                io.Combo.Input(
                    "reward_name",
                    options=[*names, NONE],
                    default=names[0] if names else NONE,
                    tooltip="A file in models/rewards, or a folder there as transformers saves a model. The node's help lists them.",
                ),
                io.String.Input(
                    "hub_name",
                    default="",
                    placeholder="openai/clip-vit-large-patch14",
                    advanced=True,
                    tooltip="A model on the Hugging Face hub, used instead of reward_name where this is filled in. The first time it is "
                    "downloaded into the hub's own cache: configuration, tokenizer and safetensors, never code.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(DTYPES),
                    default="default",
                    advanced=True,
                    tooltip="Precision of the weights. default is fp32. fp16 takes half the memory.",
                ),
            ],
            outputs=[Reward.Output(display_name="reward", tooltip=FOR_OBJECTIVES)],
        )

    @classmethod
    def validate_inputs(cls, reward_name: str = NONE, hub_name: str = "") -> bool | str:
        if hub_name and hub_name.strip():
            return True
        return why_no_reward(reward_name, "fill in hub_name (advanced)") or True

    @classmethod
    def execute(cls, reward_name: str, hub_name: str = "", weight_dtype: str = "default") -> io.NodeOutput:
        dtype = DTYPES[weight_dtype]
        if hub_name.strip():
            return io.NodeOutput(download_reward(hub_name.strip(), dtype))
        return io.NodeOutput(load_reward(reward_paths()[reward_name], dtype))


class RewardFromCLIP(io.ComfyNode):
    """ComfyUI's own CLIP and CLIP_VISION become a reward."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_RewardFromCLIP",
            display_name="Reward from CLIP + CLIP Vision",
            category="SGOOL/guidance",
            description="Makes a reward of models that are loaded already, where both belong to one CLIP: SDXL's CLIP with the CLIP vision "
            "model CLIP-ViT-bigG-14. CLIP-L is loaded without its projection and cannot be used; the node says so.",
            search_aliases=["clip score", "clip vision", "sgool", "scorer", "reward", "bigG", "sdxl"],
            inputs=[
                io.Clip.Input("clip", tooltip="A CLIP with CLIP-G in it, such as SDXL's."),
                io.ClipVision.Input("clip_vision", tooltip="CLIP-ViT-bigG-14, the image side of CLIP-G."),
            ],
            outputs=[Reward.Output(display_name="reward", tooltip=FOR_OBJECTIVES)],
        )

    @classmethod
    def execute(cls, clip: Any, clip_vision: Any) -> io.NodeOutput:
        return io.NodeOutput(reward_from_clip_and_vision(clip, clip_vision))


class SaliencyCLIPLossNode(io.ComfyNode):
    """The loss of SGOOL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = list(reward_paths())
        return io.Schema(
            node_id="SGOOL_SaliencyCLIPLoss",
            display_name="Saliency CLIP Loss",
            category="SGOOL/guidance",
            description="The objective of SGOOL: the image is to fit the prompt as a whole, and so is the part that people look at, by "
            "CLIP or any other reward. Connect it to SGOOL KSampler or SGOOL Sampler.",
            search_aliases=["sgool", "saliency", "clip guidance", "clip loss", "objective", "doodl", "attention", "prompt adherence"],
            inputs=[
                Reward.Input(
                    "reward", optional=True, tooltip="Judges how well images fit the prompt. Without one, reward_name is loaded instead."
                ),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What the image is to show, usually the positive prompt. Weights such as (red:1.2) and embeddings are "
                    "dropped. What is longer than the reward reads is cut off, with a warning in the log.",
                ),
                *widgets_of(LossSettings, names=["w_global", "w_salient"]),
                SaliencyModel.Input(
                    "saliency_model",
                    optional=True,
                    tooltip="Predicts where people look. Without one, a mask or a salient prompt only the whole image counts.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="The part that matters, instead of a prediction. Any size; one, or one for each image."
                ),
                *_prompt_inputs(),
                *widgets_of(LossSettings, names=["w_negative", "region", "distance"], advanced=True),
                *widgets_of(Augmentations, renamed=RENAMED, advanced=True),
                *widgets_of(LossSettings, names=["reduce", "detach_saliency", "saliency_every"], advanced=True),
                io.Combo.Input(
                    "reward_name",
                    options=[*names, NONE],
                    default=names[0] if names else NONE,
                    optional=True,  # the last and optional, since workflows were saved before it was there
                    tooltip="A file or folder in models/rewards, loaded where nothing is connected to reward. Load Reward's help lists "
                    "them.",
                ),
            ],
            outputs=[Objective.Output(display_name="objective", tooltip="For SGOOL KSampler, SGOOL Sampler or Combine Objectives.")],
        )

    @classmethod
    def validate_inputs(cls, prompt: Any = None, reward: Any = _NOT_CONNECTED, reward_name: str = NONE) -> bool | str:
        # A connected input is None here, and one that is not keeps its default. Core asks only where one of these is in the graph, and
        # of these only the prompt always is.
        if reward is not _NOT_CONNECTED:
            return True
        return why_no_reward(reward_name, "connect a Load Reward with its hub_name filled in, which downloads it") or True

    @classmethod
    def execute(cls, *, prompt: str, reward: Any = None, reward_name: str = NONE, **options: Any) -> io.NodeOutput:
        if reward is None:
            reward = kept_reward(reward_paths()[reward_name])
        per_line = options.get("prompt_per_line", False)
        salient_prompt = options.get("salient_prompt", "")
        negative = [plain_prompt(line) for line in options.get("negative_prompts", "").splitlines() if line.strip()]
        objective = SaliencyCLIPLoss(
            reward,
            prompts_of(prompt, per_line),
            saliency=_saliency(options.get("saliency_model"), options.get("mask"), salient_prompt),
            salient_prompts=prompts_of(salient_prompt, per_line) if salient_prompt.strip() else None,
            negative_prompts=negative,
            settings=_settings(options),
        )
        return io.NodeOutput(objective)


def _prompt_inputs() -> list[io.Input]:
    return [
        io.String.Input(
            "salient_prompt",
            default="",
            multiline=True,
            dynamic_prompts=True,
            advanced=True,
            tooltip="What the salient part is to show, where that is not the whole prompt. Without a saliency model or a mask, the pack's "
            "own predictor finds that part. In windows each phrase is held against the best one: phrases between semicolons, or those of "
            "the prompt.",
        ),
        io.String.Input(
            "negative_prompts",
            default="",
            multiline=True,
            dynamic_prompts=True,
            advanced=True,
            tooltip="What the image is not to look like, one prompt a line. Counts until the image fits the prompt better than these.",
        ),
        io.Boolean.Input(
            "prompt_per_line",
            default=False,
            advanced=True,
            tooltip="Each line of prompt (and of salient_prompt) belongs to one image of the batch. Off: it is one prompt for all.",
        ),
    ]


def _settings(options: dict[str, Any]) -> LossSettings:
    """The fields that the widgets say; a graph in API format may leave widgets out."""
    of_augmentations = {field.name: RENAMED.get(field.name, field.name) for field in fields(Augmentations)}
    augmentations = Augmentations(**{field: options[widget] for field, widget in of_augmentations.items() if widget in options})
    own = {field.name: options[field.name] for field in fields(LossSettings) if field.name in options}
    return LossSettings(**own, augmentations=augmentations)


def _saliency(model: Any, mask: Any, salient_prompt: str) -> Any:
    if mask is not None:
        return from_mask(mask)
    return default_predictor() if model is None and salient_prompt.strip() else model


class CombineObjectives(io.ComfyNode):
    """The weighted sum of objectives."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs: list[io.Input] = []
        for number in range(1, MOST_OBJECTIVES + 1):
            what = "What to improve." if number == 1 else "What to improve as well."
            inputs.append(Objective.Input(f"objective_{number}", optional=number > 1, tooltip=what))
        for number in range(1, MOST_OBJECTIVES + 1):
            tooltip = f"Weight of objective_{number}; 0 leaves it out, below zero does the opposite."
            inputs.append(
                io.Float.Input(
                    f"weight_{number}",
                    default=1.0,
                    min=-MAX_WEIGHT,
                    max=MAX_WEIGHT,
                    step=0.05,
                    round=0.001,
                    tooltip=tooltip,
                    advanced=number > 2,
                )
            )
        inputs.append(
            io.Combo.Input(
                "weights",
                options=[*BALANCES, RENO],
                default=BALANCES[0],
                optional=True,  # graphs in API format from before it was there leave it out
                advanced=True,
                tooltip="factors: of the losses, as they are. shares of the gradient: how much of it each objective makes at the start, "
                "whatever its scale. ReNO: that paper's factors for HPS, ImageReward, PickScore and CLIP, times those here.",
            )
        )
        return io.Schema(
            node_id="SGOOL_CombineObjectives",
            display_name="Combine Objectives",
            category="SGOOL/guidance",
            description="Adds up objectives, each times its weight, or each with its share of the gradient. For more than five, combine "
            "combinations.",
            search_aliases=["sgool", "objective", "weighted sum", "multi objective", "loss", "combine", "reno", "balance", "ensemble"],
            inputs=inputs,
            outputs=[Objective.Output(display_name="objective", tooltip="For SGOOL KSampler, SGOOL Sampler or Combine Objectives.")],
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        terms = [
            (inputs.get(f"weight_{number}", 1.0), inputs[f"objective_{number}"])
            for number in range(1, MOST_OBJECTIVES + 1)
            if inputs.get(f"objective_{number}") is not None
        ]
        weights = inputs.get("weights", BALANCES[0])
        return io.NodeOutput(WeightedSum(reno_terms(terms)) if weights == RENO else WeightedSum(terms, weights))


NODES: list[type[io.ComfyNode]] = [LoadReward, RewardFromCLIP, SaliencyCLIPLossNode, CombineObjectives]
