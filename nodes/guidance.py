"""Objectives: what images are to become, for the optimizer and on their own."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..comfy_bridge.folders import clip_scorer_folders, register_clip_scorers
from ..comfy_bridge.layout import from_mask
from ..comfy_bridge.saliency import default_predictor
from ..comfy_bridge.scorers import download_scorer, load_scorer, plain_prompt, scorer_from_clip_and_vision
from ..guidance.augmentations import KINDS, Augmentations
from ..guidance.distances import DISTANCES
from ..guidance.objective import WeightedSum
from ..guidance.regions import REGIONS
from ..guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss
from .sockets import CLIPScorer, Objective, SaliencyModel

NONE = "none"
DTYPES = {"default": torch.float32, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MOST_OBJECTIVES = 5
MAX_WEIGHT = 1000.0
BY_CONNECTION = -1.0  # of w_salient: the salient part counts where somebody gave one, since otherwise it is a cost (docs/does-it-work.md)

register_clip_scorers()


def prompts_of(prompt: str, prompt_per_line: bool) -> list[str]:
    """The sentences of a prompt widget, without CLIPTextEncode's weights and embeddings; an empty prompt stays, to be complained about."""
    if not prompt_per_line:
        return [plain_prompt(" ".join(prompt.split()))]
    return [plain_prompt(line) for line in prompt.splitlines() if line.strip()] or [""]


class LoadCLIPScorer(io.ComfyNode):
    """A folder or a hub name becomes a CLIP_SCORER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        folders = list(clip_scorer_folders())
        return io.Schema(
            node_id="SGOOL_LoadCLIPScorer",
            display_name="Load CLIP Scorer",
            category="SGOOL/guidance",
            description="Loads a model that tells how well an image fits a sentence: CLIP, PickScore, SigLIP or SigLIP 2 (of fixed "
            "resolution), from a folder in models/clip_scorers as transformers saves it.",
            search_aliases=["clip score", "pickscore", "siglip", "reward model", "sgool", "scorer", "image text model"],
            inputs=[
                io.Combo.Input(
                    "scorer_name",
                    options=[*folders, NONE],
                    default=folders[0] if folders else NONE,
                    tooltip="A folder in models/clip_scorers: config.json, model.safetensors, preprocessor_config.json, the tokenizer.",
                ),
                io.String.Input(
                    "hub_name",
                    default="",
                    placeholder="openai/clip-vit-large-patch14",
                    advanced=True,
                    tooltip="A model on the Hugging Face hub, used instead of scorer_name where this is filled in. The first time it is "
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
            outputs=[CLIPScorer.Output(display_name="clip_scorer", tooltip="For Saliency CLIP Loss and CLIP Score.")],
        )

    @classmethod
    def validate_inputs(cls, scorer_name: str, hub_name: str) -> bool | str:
        if hub_name and hub_name.strip():
            return True
        if scorer_name == NONE:
            return "No scorer is chosen. Put a model's folder into models/clip_scorers and choose it, or fill in hub_name (advanced)."
        if scorer_name not in clip_scorer_folders():
            return (
                f"There is no folder {scorer_name!r} with a config.json in models/clip_scorers. Put the model's files there, then refresh."
            )
        return True

    @classmethod
    def execute(cls, scorer_name: str, hub_name: str = "", weight_dtype: str = "default") -> io.NodeOutput:
        dtype = DTYPES[weight_dtype]
        if hub_name.strip():
            return io.NodeOutput(download_scorer(hub_name.strip(), dtype))
        return io.NodeOutput(load_scorer(clip_scorer_folders()[scorer_name], dtype))


class CLIPScorerFromCLIP(io.ComfyNode):
    """ComfyUI's own CLIP and CLIP_VISION become a CLIP_SCORER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_CLIPScorerFromCLIP",
            display_name="CLIP Scorer from CLIP + CLIP Vision",
            category="SGOOL/guidance",
            description="Makes a scorer of models that are loaded already, where both belong to one CLIP: SDXL's CLIP with the CLIP vision "
            "model CLIP-ViT-bigG-14. CLIP-L is loaded without its projection and cannot be used; the node says so.",
            search_aliases=["clip score", "clip vision", "sgool", "scorer", "bigG", "sdxl"],
            inputs=[
                io.Clip.Input("clip", tooltip="A CLIP with CLIP-G in it, such as SDXL's."),
                io.ClipVision.Input("clip_vision", tooltip="CLIP-ViT-bigG-14, the image side of CLIP-G."),
            ],
            outputs=[CLIPScorer.Output(display_name="clip_scorer", tooltip="For Saliency CLIP Loss and CLIP Score.")],
        )

    @classmethod
    def execute(cls, clip: Any, clip_vision: Any) -> io.NodeOutput:
        return io.NodeOutput(scorer_from_clip_and_vision(clip, clip_vision))


class SaliencyCLIPLossNode(io.ComfyNode):
    """The loss of SGOOL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_SaliencyCLIPLoss",
            display_name="Saliency CLIP Loss",
            category="SGOOL/guidance",
            description="The objective of SGOOL: the image is to fit the prompt as a whole, and so is the part that people look at. "
            "Connect it to SGOOL KSampler or SGOOL Sampler.",
            search_aliases=["sgool", "saliency", "clip guidance", "clip loss", "objective", "doodl", "attention", "prompt adherence"],
            inputs=[
                CLIPScorer.Input("clip_scorer", tooltip="Judges how well images fit the prompt."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What the image is to show, usually the positive prompt. Weights such as (red:1.2) and embeddings are "
                    "dropped. What is longer than the scorer reads is cut off, with a warning in the log.",
                ),
                _weight("w_global", 1.0, "Weight of the whole image."),
                _weight(
                    "w_salient",
                    BY_CONNECTION,
                    "Weight of the salient part; 1 is SGOOL. 0 predicts no saliency: plain CLIP guidance, as in DOODL. -1: 1 where a "
                    "saliency model, a mask or a salient prompt is given, else 0.",
                    lowest=BY_CONNECTION,
                ),
                SaliencyModel.Input(
                    "saliency_model",
                    optional=True,
                    tooltip="Predicts where people look. Without one, and without a mask, a w_salient above 0 uses the pack's own, which "
                    "needs no weights.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="The part that matters, instead of a prediction. Any size; one, or one for each image."
                ),
                *_advanced_inputs(),
            ],
            outputs=[Objective.Output(display_name="objective", tooltip="For SGOOL KSampler, SGOOL Sampler or Combine Objectives.")],
        )

    @classmethod
    def execute(cls, clip_scorer: Any, prompt: str, w_global: float, w_salient: float, **options: Any) -> io.NodeOutput:
        per_line = options.get("prompt_per_line", False)
        salient_prompt = options.get("salient_prompt", "")
        if w_salient == BY_CONNECTION:
            given = options.get("saliency_model") is not None or options.get("mask") is not None or bool(salient_prompt.strip())
            w_salient = float(given)
        away = [plain_prompt(line) for line in options.get("negative_prompts", "").splitlines() if line.strip()]
        settings = LossSettings(
            w_global=w_global,
            w_salient=w_salient,
            w_negative=options.get("w_negative", 1.0),
            region=options.get("region", LossSettings.region),
            distance=options.get("distance", "great circle"),
            augmentations=_augmentations(options),
            reduce=options.get("reduce", "mean"),
            detach_saliency=options.get("detach_saliency", True),
            saliency_every=options.get("saliency_every", 1),
        )
        objective = SaliencyCLIPLoss(
            clip_scorer,
            prompts_of(prompt, per_line),
            saliency=_saliency(w_salient, options.get("saliency_model"), options.get("mask")),
            salient_prompts=prompts_of(salient_prompt, per_line) if salient_prompt.strip() else None,
            negative_prompts=away,
            settings=settings,
        )
        return io.NodeOutput(objective)


def _weight(name: str, default: float, tooltip: str, *, advanced: bool = False, lowest: float = 0.0) -> io.Input:
    return io.Float.Input(name, default=default, min=lowest, max=MAX_WEIGHT, step=0.05, round=0.001, tooltip=tooltip, advanced=advanced)


def _advanced_inputs() -> list[io.Input]:
    return [
        io.String.Input(
            "salient_prompt",
            default="",
            multiline=True,
            dynamic_prompts=True,
            advanced=True,
            tooltip="What the salient part is to show, where that is not the whole prompt.",
        ),
        io.String.Input(
            "negative_prompts",
            default="",
            multiline=True,
            dynamic_prompts=True,
            advanced=True,
            tooltip="What the image is not to look like, one prompt a line. Counts until the image fits the prompt better than these.",
        ),
        _weight("w_negative", 1.0, "Weight of the negative prompts.", advanced=True),
        io.Boolean.Input(
            "prompt_per_line",
            default=False,
            advanced=True,
            tooltip="Each line of prompt (and of salient_prompt) belongs to one image of the batch. Off: it is one prompt for all.",
        ),
        io.Combo.Input(
            "region",
            options=list(REGIONS),
            default=LossSettings.region,
            advanced=True,
            tooltip="How the salient part is shown to the scorer: the image times the map (the paper's filter), with blurred "
            "surroundings, or cropped to where the map's mass is.",
        ),
        io.Combo.Input(
            "distance",
            options=list(DISTANCES),
            default="great circle",
            advanced=True,
            tooltip="Between image and prompt: the squared great-circle distance, as in DOODL, or 1 - cosine.",
        ),
        io.Combo.Input(
            "augmentation",
            options=list(KINDS),
            default="augmented",
            advanced=True,
            tooltip="What the scorer sees: the whole image; the image and random zooms of it in other light; or random square "
            "cutouts, as in DOODL. More augmentations make it harder to please the scorer without showing what was asked for.",
        ),
        io.Int.Input(
            "augmentation_count",
            default=4,
            min=1,
            max=256,
            advanced=True,
            tooltip="Number of random augmentations (DOODL: 16). Each costs a pass of the scorer, and one more for the salient part.",
        ),
        io.Combo.Input(
            "reduce",
            options=["mean", "minimum"],
            default="mean",
            advanced=True,
            tooltip="Over the augmentations: their mean, or the best one, as in DOODL.",
        ),
        io.Float.Input(
            "cut_power",
            default=0.3,
            min=0.0,
            max=10.0,
            step=0.05,
            advanced=True,
            tooltip="Cutouts: the lower, the more of them are large (DOODL: 0.3).",
        ),
        io.Float.Input(
            "smallest_zoom",
            default=0.8,
            min=0.1,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Augmentations show at least this part of the width and of the height.",
        ),
        io.Float.Input(
            "color_jitter",
            default=0.1,
            min=0.0,
            max=0.9,
            step=0.01,
            advanced=True,
            tooltip="Augmentations: how far light, contrast and color vary.",
        ),
        io.Boolean.Input(
            "flip",
            default=False,
            advanced=True,
            tooltip="Augmentations may be mirrored. Leave it off where the prompt speaks of left and right.",
        ),
        io.Boolean.Input(
            "detach_saliency",
            default=True,
            advanced=True,
            tooltip="On: the map is taken as given. Off: the gradient also says how to make people look elsewhere.",
        ),
        io.Int.Input(
            "saliency_every",
            default=1,
            min=1,
            max=1000,
            advanced=True,
            tooltip="Saliency is predicted anew in every n-th iteration, and kept in between.",
        ),
    ]


def _augmentations(options: dict[str, Any]) -> Augmentations:
    return Augmentations(
        kind=options.get("augmentation", "augmented"),
        count=options.get("augmentation_count", 4),
        cut_power=options.get("cut_power", 0.3),
        smallest_zoom=options.get("smallest_zoom", 0.8),
        jitter=options.get("color_jitter", 0.1),
        flip=options.get("flip", False),
    )


def _saliency(w_salient: float, model: Any, mask: Any) -> Any:
    if w_salient == 0:
        return None
    if mask is not None:
        return from_mask(mask)
    return model if model is not None else default_predictor()


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
        return io.Schema(
            node_id="SGOOL_CombineObjectives",
            display_name="Combine Objectives",
            category="SGOOL/guidance",
            description="Adds up objectives, each times its weight. For more than five, combine combinations.",
            search_aliases=["sgool", "objective", "weighted sum", "multi objective", "loss", "combine"],
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
        return io.NodeOutput(WeightedSum(terms))


NODES: list[type[io.ComfyNode]] = [LoadCLIPScorer, CLIPScorerFromCLIP, SaliencyCLIPLossNode, CombineObjectives]
