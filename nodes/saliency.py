"""Where people look: predict it, show it, and compare predictions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

import torch
from comfy_api.latest import io
from torch import Tensor

from ..comfy_bridge import saliency as bridge
from ..comfy_bridge.folders import register_saliency
from ..comfy_bridge.layout import from_image, from_mask, match_batch, to_image, to_mask
from ..image_ops.blur import blur as blurred
from ..saliency_models import drawing, transalnet, unisal
from ..saliency_models.center_prior import central_gaussian
from ..saliency_models.color_maps import NAMES, color
from ..saliency_models.comparison import METRICS, compare, parse_points
from .sockets import SaliencyModel

register_saliency()

CATEGORY = "SGOOL/saliency"
ALIASES = ["saliency", "attention", "eye tracking", "fixation", "heatmap", "where people look", "sgool"]
DEFAULT = "default"
NORMALIZATIONS = ["as predicted", "maximum", "range"]
BASELINES = ["center prior", "uniform"]
LARGEST_INPUT = 4096


def _default(function: Callable[..., Any], argument: str) -> Any:
    return inspect.signature(function).parameters[argument].default


class LoadSaliencyModel(io.ComfyNode):
    """A predictor by name, or a weights file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_LoadSaliencyModel",
            display_name="Load Saliency Model",
            category=CATEGORY,
            description="Loads a predictor of where people look, or of the object that stands out. The first few need no download. The "
            "learned ones look for their weights in models/saliency; a file there can also be chosen itself, and is recognized by what "
            "it holds.",
            search_aliases=[*ALIASES, "transalnet", "unisal", "fastsal", "u2net", "dinov2", "gbvs", "load saliency"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=bridge.choices(),
                    default=bridge.DEFAULT_PREDICTOR,
                    tooltip="A predictor, or a file in models/saliency. The node's help lists them with their kind, license and address.",
                ),
                io.Boolean.Input(
                    "download_if_missing",
                    default=False,
                    tooltip="Fetch the weights into models/saliency if they are not there, for predictors whose weights a hub or "
                    "repository offers. Otherwise the error says where to get them.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(bridge.DTYPES),
                    advanced=True,
                    tooltip="How the weights are kept in memory. Half precision takes half the memory; it still computes in 32 bits, "
                    "except with models of the transformers library.",
                ),
                io.Combo.Input(
                    "channel_order",
                    options=[DEFAULT, *get_args(transalnet.ChannelOrder)],
                    advanced=True,
                    tooltip="TranSalNet only. Trained on RGB; the authors' own test script feeds BGR.",
                ),
                io.Combo.Input(
                    "domain",
                    options=[DEFAULT, *unisal.DOMAINS],
                    advanced=True,
                    tooltip="UNISAL only: which of the data it was trained on to predict for. SALICON is still images, the others films.",
                ),
            ],
            outputs=[SaliencyModel.Output(display_name="saliency_model", tooltip="For Attention (Saliency) and Saliency CLIP Loss.")],
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None = None, download_if_missing: bool = False) -> bool | str:
        return (model_name is not None and bridge.why_no_weights(model_name, download_if_missing)) or True

    @classmethod
    def execute(cls, model_name: str, download_if_missing: bool, dtype: str, channel_order: str, domain: str) -> io.NodeOutput:
        options = {"channel_order": channel_order, "domain": domain}
        given = {key: value for key, value in options.items() if value != DEFAULT}
        return io.NodeOutput(bridge.load_predictor(model_name, dtype, download_if_missing, **given))


class PredictSaliency(io.ComfyNode):
    """IMAGE to MASK and heatmap."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_PredictSaliency",
            display_name="Attention (Saliency)",
            category=CATEGORY,
            description="Predicts where people look in each image: a MASK from 0 (nobody) to 1 (most), for anything that takes a mask, "
            "and the same in colors. Without a model it uses the default predictor, which needs no download.",
            search_aliases=[*ALIASES, "saliency map", "saliency mask", "salient object", "auto mask"],
            inputs=[
                io.Image.Input("image", tooltip="Images of any size."),
                SaliencyModel.Input("saliency_model", optional=True, tooltip="From Load Saliency Model. None is the default predictor."),
                io.Int.Input(
                    "input_size",
                    default=0,
                    min=0,
                    max=LARGEST_INPUT,
                    step=32,
                    advanced=True,
                    tooltip="Longer side, in pixels, of the copy that the predictor looks at. 0 is its own size, which it was made for. "
                    "Larger finds smaller things.",
                ),
                io.Combo.Input(
                    "normalization",
                    options=NORMALIZATIONS,
                    default=NORMALIZATIONS[0],
                    advanced=True,
                    tooltip="'maximum' divides each map by its maximum; 'range' stretches each from 0 to 1. A constant map stays as it is.",
                ),
                io.Float.Input("blur", default=0.0, min=0.0, max=200.0, step=0.5, advanced=True, tooltip="Sigma of a blur, in pixels."),
                io.Float.Input(
                    "threshold",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Above 0: the mask becomes 1 where the map is above this, else 0, as Threshold Mask does.",
                ),
                io.Float.Input(
                    "center_prior",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How much to multiply by a Gaussian around the center, since people look at the middle of photographs. The "
                    "default predictor and those trained on fixations have it in them already.",
                ),
                io.Combo.Input("color_map", options=list(NAMES), default=_default(color, "name"), advanced=True, tooltip="Of the heatmap."),
            ],
            outputs=[
                io.Mask.Output(tooltip="0 to 1, the size of the image."),
                io.Image.Output(display_name="heatmap", tooltip="The mask in colors."),
            ],
        )

    @classmethod
    def validate_inputs(cls, input_size: int | None = None) -> bool | str:
        return _not_a_size(input_size or 0) or True

    @classmethod
    def execute(
        cls,
        *,
        image: Tensor,
        input_size: int,
        normalization: str,
        blur: float,
        threshold: float,
        center_prior: float,
        color_map: str,
        saliency_model: bridge.SaliencyPredictor | None = None,
    ) -> io.NodeOutput:
        images = from_image(image)
        predictor = saliency_model or bridge.default_predictor()
        size = (images.shape[-2], images.shape[-1])
        if wrong := _not_a_size(input_size):
            raise ValueError(wrong)
        maps = predictor.at_size(input_size, size)(images).float()
        if center_prior:
            maps = maps * central_gaussian(size, maps) ** center_prior
        maps = _normalized(blurred(maps, blur), normalization)
        if threshold > 0:
            maps = (maps > threshold).float()
        return io.NodeOutput(to_mask(maps), to_image(color(maps, color_map)))


def _normalized(maps: Tensor, how: str) -> Tensor:
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    if how == "range":
        return torch.where(high - low > 1e-6, (maps - low) / (high - low).clamp(min=1e-6), maps)
    return maps / torch.where(high > 0, high, torch.ones_like(high)) if how == "maximum" else maps


class SaliencyOverlay(io.ComfyNode):
    """A map drawn over images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_SaliencyOverlay",
            display_name="Saliency Overlay",
            category=CATEGORY,
            description="Lays a saliency map, or any mask, over images in colors whose steps look equal, with contour lines and a "
            "legend if wanted.",
            search_aliases=[*ALIASES, "overlay", "mask preview", "contour", "colormap", "color map"],
            inputs=[
                io.Image.Input("image", tooltip="The images."),
                io.Mask.Input("mask", tooltip="A map for each image, or one for all; resized if of another size."),
                io.Combo.Input(
                    "color_map",
                    options=list(NAMES),
                    default=_default(drawing.overlay, "name"),
                    tooltip="Perceptually uniform, except for gray.",
                ),
                io.Float.Input(
                    "opacity",
                    default=_default(drawing.overlay, "opacity"),
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Of the colors over the image.",
                ),
                io.Boolean.Input(
                    "fade", default=_default(drawing.overlay, "fade"), tooltip="Let the image show through where the map is low."
                ),
                io.Int.Input("contours", default=0, min=0, max=10, tooltip="Lines of equal saliency: 1 is at a half, 3 at 1/4, 1/2, 3/4."),
                io.Boolean.Input("legend", default=False, tooltip="Draw the colors with their ends, 0 and 1, into the corner."),
            ],
            outputs=[io.Image.Output(tooltip="The size of the image.")],
        )

    @classmethod
    def execute(
        cls, *, image: Tensor, mask: Tensor, color_map: str, opacity: float, fade: bool, contours: int, legend: bool
    ) -> io.NodeOutput:
        images, maps = _images_and_maps(image, mask, "masks")
        drawn = drawing.overlay(images, maps, color_map, opacity, fade)
        drawn = drawing.contours(drawn, maps, contours)
        return io.NodeOutput(to_image(drawing.legend(drawn, color_map) if legend else drawn))


def _images_and_maps(image: Tensor, mask: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """Images and maps with a common batch, one of either for many of the other."""
    images, maps = from_image(image).float(), from_mask(mask).to(image.device).float()
    if len(images) == 1:
        return match_batch(images, len(maps), "images"), maps
    return images, match_batch(maps, len(images), what)


class CompareSaliency(io.ComfyNode):
    """A map against a map or fixations."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_CompareSaliency",
            display_name="Compare Saliency",
            category=CATEGORY,
            description="Measures how well a saliency map agrees with another map (CC, SIM, KLD) or with where people really looked (AUC, "
            "shuffled AUC, NSS, information gain as well), as in the MIT/Tuebingen saliency benchmark.",
            search_aliases=[*ALIASES, "metrics", "evaluate saliency", "AUC", "NSS", "benchmark"],
            inputs=[
                io.Mask.Input("saliency", tooltip="The map to judge."),
                io.Mask.Input("reference", optional=True, tooltip="A map to compare with; resized if of another size."),
                io.String.Input(
                    "fixations",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Where people looked: x,y in pixels of the saliency map, one a line, x to the right and y down from the upper "
                    "left corner. A line --- begins the next image of the batch.",
                ),
                io.Mask.Input("fixation_mask", optional=True, tooltip="Instead of text: each pixel above 0.5 is a fixation."),
                io.String.Input(
                    "other_fixations",
                    default="",
                    multiline=True,
                    optional=True,
                    advanced=True,
                    tooltip="For the shuffled AUC: where people looked in other images. Empty takes the rest of the batch.",
                ),
                io.Combo.Input(
                    "baseline",
                    options=BASELINES,
                    default=BASELINES[0],
                    advanced=True,
                    tooltip="What the information gain is over.",
                ),
                io.Image.Input("image", optional=True, tooltip="To draw the maps over."),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="Every metric with what it means."),
                io.Image.Output(display_name="image", tooltip="The map beside what it was compared with."),
                *(io.Float.Output(display_name=metric, tooltip="Mean over the images; NaN if not computed.") for metric in METRICS),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        *,
        saliency: Tensor,
        baseline: str,
        reference: Tensor | None = None,
        fixations: str = "",
        fixation_mask: Tensor | None = None,
        other_fixations: str = "",
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        maps = from_mask(saliency).float()
        batch = len(maps)
        images = None
        if image is not None:
            images = match_batch(from_image(image).float().to(maps.device), batch, "images")
        found = compare(
            maps,
            reference=None if reference is None else match_batch(from_mask(reference).to(maps), batch, "reference maps"),
            points=_fixations(fixations, fixation_mask, maps),
            others=_for_batch(parse_points(other_fixations), batch) if other_fixations.strip() else None,
            center_baseline=baseline == BASELINES[0],
            images=images,
        )
        numbers = [found.mean(metric) for metric in METRICS]
        return io.NodeOutput(found.text, to_image(found.image), *numbers, ui={"text": (found.text,)})


def _not_a_size(input_size: int) -> str:
    """What is wrong with it, if anything. Core leaves the whole range to a node that looks at an input itself."""
    if input_size == 0 or 32 <= input_size <= LARGEST_INPUT:
        return ""
    return f"The input size is {input_size}; set it to 0 (the predictor's own), or to 32 or more, at most {LARGEST_INPUT}."


def _fixations(text: str, mask: Tensor | None, maps: Tensor) -> list[Tensor] | None:
    """Each image's (row, column) points, or None if there are none given."""
    if mask is not None and text.strip():
        raise ValueError("There are fixations as text and as a mask; disconnect the mask, or clear the text.")
    if text.strip():
        return _for_batch(parse_points(text), len(maps))
    if mask is None:
        return None
    points = match_batch(from_mask(mask), len(maps), "fixation masks")
    if points.shape[-2:] != maps.shape[-2:]:
        sizes = (f"{one.shape[-1]} x {one.shape[-2]}" for one in (points, maps))
        raise ValueError("The fixation mask is {}, the saliency map {} (width x height); they must be of one size.".format(*sizes))
    return [(single[0] > 0.5).nonzero() for single in points]


def _for_batch(points: list[Tensor], batch: int) -> list[Tensor]:
    if len(points) == 1:
        return points * batch
    if len(points) != batch:
        raise ValueError(f"There are fixations for {len(points)} images (--- begins the next), and {batch} maps.")
    return points


NODES: list[type[io.ComfyNode]] = [LoadSaliencyModel, PredictSaliency, SaliencyOverlay, CompareSaliency]
