"""Artistic means as objectives: wishes that a user states, not measures of quality."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..comfy_bridge.folders import register_saliency, register_texture
from ..comfy_bridge.layout import from_image, from_mask, to_image
from ..comfy_bridge.objective_scores import objective_scores, score_table
from ..comfy_bridge.saliency import load_predictor
from ..comfy_bridge.texture_models import SIDE as NETWORK_SIDE
from ..comfy_bridge.texture_models import texture_features
from ..comfy_bridge.vision_features import VisionFeatures
from ..guidance.art.charts import draw_color, draw_light, draw_texture
from ..guidance.art.color_rules import COLOR_RULES, Harmony, Palette, colors_of, hex_colors
from ..guidance.art.composition import FOCUS, Composition
from ..guidance.art.composition_rules import RULES, RuleOfThirds
from ..guidance.art.learned_texture import LearnedTexture
from ..guidance.art.light_rules import LIGHT_RULES, KeyDirection
from ..guidance.art.texture_rules import SIDE as TEXTURE_SIDE
from ..guidance.art.texture_rules import STROKE_RULES, TextureStatistics
from ..guidance.art.vgg import NETWORKS
from ..guidance.art.view import ViewObjective, asks_for_subject
from .sockets import Objective, SaliencyModel
from .widgets import choice_of, chosen, widgets_of, with_known_choices

register_saliency()
register_texture()

CATEGORY = "SGOOL/art"
PALETTE = "palette"
REFERENCE = "reference"
RANDOM_FILTERS = "random filters"
ALIASES = ["sgool", "art", "objective", "guidance", "aesthetic"]
# Without the center prior, which would say that the subject is in the middle wherever it is.
SUBJECT_PREDICTOR = "default-without-center"
FOR_SAMPLERS = "For SGOOL KSampler, SGOOL Sampler, SGOOL Best of N, Combine Objectives or Objective Score."
WISH = "A wish that you state, not a measure of quality."


def subject_inputs(mask: str) -> list[io.Input]:
    """Where the subject is: a saliency model or a mask."""
    return [
        SaliencyModel.Input(
            "saliency_model",
            optional=True,
            tooltip="Finds the subject: what people look at. From Load Saliency Model. Those that find objects (U2-Net) are the sharpest.",
        ),
        io.Mask.Input("mask", optional=True, tooltip=mask),
    ]


def subject_of(model: Any, mask: Any) -> Any:
    """What an objective takes as the subject: the mask, else the model, else the pack's own predictor."""
    if mask is not None:
        return from_mask(mask)
    return load_predictor(SUBJECT_PREDICTOR) if model is None else model


def subject_for(wish: Any, model: Any, mask: Any) -> Any:
    """The same where the wish asks for it or it is connected; else nothing, and the whole image counts."""
    return subject_of(model, mask) if asks_for_subject(wish) or model is not None or mask is not None else None


class CompositionNode(io.ComfyNode):
    """Where the subject stands."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_Composition",
            display_name="Composition",
            category=CATEGORY,
            description="The subject is to stand where a rule of composition says: on a third, in the golden section, on a diagonal, in "
            f"the middle, at a point, in a box; or the image is to be balanced or symmetric. {WISH}",
            search_aliases=[
                *ALIASES,
                "rule of thirds",
                "golden ratio",
                "golden section",
                "place subject",
                "balance",
                "symmetry",
                "diagonal",
                "head room",
                "lead room",
                "subject size",
                "framing",
            ],
            inputs=[
                choice_of("rule", RULES, "Which rule.", RuleOfThirds()),
                *subject_inputs(
                    "The subject, in the place of a prediction, for Objective Score. A mask cannot be moved by optimizing; rules that "
                    "weigh dark or light pixels, and symmetry, do not need it."
                ),
                io.Float.Input(
                    "focus",
                    default=FOCUS,
                    min=1.0,
                    max=100.0,
                    step=0.5,
                    advanced=True,
                    tooltip="Exponent of the saliency map. The larger, the less its faint parts count as subject.",
                ),
            ],
            outputs=[Objective.Output(display_name="objective", tooltip=FOR_SAMPLERS)],
        )

    @classmethod
    @with_known_choices()
    def execute(cls, rule: dict[str, Any], saliency_model: Any = None, mask: Any = None, focus: float = FOCUS) -> io.NodeOutput:
        return io.NodeOutput(Composition(chosen(rule, "rule", RULES), subject_of(saliency_model, mask), focus))


class ColorNode(io.ComfyNode):
    """Which colors."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        of_palette: list[io.Input] = [
            io.String.Input("colors", default="#264653 #2a9d8f #e9c46a #e76f51", tooltip="Colors such as #e07a2f, with spaces between."),
            *widgets_of(Harmony, names=["where"]),
        ]
        options = [io.DynamicCombo.Option(name, widgets_of(kind)) for name, kind in COLOR_RULES.items()]
        options.insert(1, io.DynamicCombo.Option(PALETTE, of_palette))
        return io.Schema(
            node_id="SGOOL_Color",
            display_name="Color",
            category=CATEGORY,
            description="The image's hues are to be in harmony (complementary, analogous, triadic ...), its colors those of a palette or "
            f"of a reference image, warm or cold, so much saturated, or the subject's to stand out from the ground's. {WISH}",
            search_aliases=[
                *ALIASES,
                "color harmony",
                "colour",
                "complementary",
                "analogous",
                "palette",
                "color grading",
                "hue wheel",
                "warm",
                "saturation",
                "contrast",
            ],
            inputs=[
                io.DynamicCombo.Input("rule", options=options, tooltip="What is wished for."),
                io.Image.Input(
                    "reference", optional=True, tooltip="For palette: the image whose colors are wanted, instead of colors. Any size."
                ),
                *subject_inputs("The subject, in the place of a prediction, where subject or ground count. One, or one for each image."),
            ],
            outputs=[Objective.Output(display_name="objective", tooltip=FOR_SAMPLERS)],
        )

    @classmethod
    @with_known_choices()
    def execute(cls, rule: dict[str, Any], reference: Any = None, saliency_model: Any = None, mask: Any = None) -> io.NodeOutput:
        name = rule["rule"]
        if name != PALETTE:
            wish = chosen(rule, "rule", COLOR_RULES)
        else:
            wish = Palette(hex_colors(rule.get("colors", "")) if reference is None else colors_of(from_image(reference)), rule["where"])
        return io.NodeOutput(ViewObjective(name, wish, subject_for(wish, saliency_model, mask), draw_color))


class LightNode(io.ComfyNode):
    """Which light."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_Light",
            display_name="Light",
            category=CATEGORY,
            description="The light is to come from a side or from behind, to rim the subject, to cast soft or hard shadows; the image to "
            f"be low or high key, or well exposed. {WISH}",
            search_aliases=[
                *ALIASES,
                "light direction",
                "relight",
                "rim light",
                "backlight",
                "back light",
                "soft light",
                "shadow",
                "low key",
                "high key",
                "exposure",
            ],
            inputs=[
                choice_of("rule", LIGHT_RULES, "What is wished for.", KeyDirection()),
                *subject_inputs("The subject, in the place of a prediction. One, or one for each image."),
                io.Image.Input(
                    "depth",
                    optional=True,
                    tooltip="A depth image, near is light, as Depth Anything makes it: what is near is the subject. A mask goes before it.",
                ),
            ],
            outputs=[Objective.Output(display_name="objective", tooltip=FOR_SAMPLERS)],
        )

    @classmethod
    @with_known_choices()
    def execute(cls, rule: dict[str, Any], saliency_model: Any = None, mask: Any = None, depth: Any = None) -> io.NodeOutput:
        wish = chosen(rule, "rule", LIGHT_RULES)
        if mask is None and depth is not None:
            mask = from_image(depth).mean(1)
        return io.NodeOutput(ViewObjective(rule["rule"], wish, subject_for(wish, saliency_model, mask), draw_light))


class TextureNode(io.ComfyNode):
    """Which hand."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        weights = {"subject_weight": "the subject", "ground_weight": "the ground"}
        of_reference: list[io.Input] = [
            io.Float.Input(name, default=1.0, min=0.0, max=100.0, step=0.1, tooltip=f"How much the texture of {what} counts.")
            for name, what in weights.items()
        ]
        of_reference.append(
            io.Combo.Input(
                "features",
                options=[RANDOM_FILTERS, *NETWORKS],
                default=RANDOM_FILTERS,
                tooltip="What measures texture: random filters, which need no model, or a VGG as in neural style transfer, whose published "
                "file is looked for in models/texture. Leave it at random filters where clip_vision is connected.",
            )
        )
        options = [io.DynamicCombo.Option(REFERENCE, of_reference)]
        options += [io.DynamicCombo.Option(name, widgets_of(kind)) for name, kind in STROKE_RULES.items()]
        return io.Schema(
            node_id="SGOOL_Texture",
            display_name="Texture",
            category=CATEGORY,
            description="Brushwork: the image is to have the texture of reference images, on the subject and on the ground by weights of "
            f"their own, or strokes of a direction or a width. Needs no model, and can take one. {WISH}",
            search_aliases=[*ALIASES, "style", "style transfer", "brush stroke", "brushwork", "texture", "gram matrix", "painting"],
            inputs=[
                io.DynamicCombo.Input("rule", options=options, tooltip="What is wished for."),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="For reference: one image or several whose texture is wanted. Any size.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="For reference: measures texture by what this encoder sees (CLIP, SigLIP, DINOv2; from Load CLIP Vision), in "
                    "the middle square of each image. Without it by random filters, which need no model.",
                ),
                *subject_inputs("The subject, in the place of a prediction. One, or one for each image."),
            ],
            outputs=[Objective.Output(display_name="objective", tooltip=FOR_SAMPLERS)],
        )

    @classmethod
    @with_known_choices()
    def execute(
        cls, rule: dict[str, Any], reference: Any = None, clip_vision: Any = None, saliency_model: Any = None, mask: Any = None
    ) -> io.NodeOutput:
        if rule["rule"] == REFERENCE:
            wish, side = _reference_wish(rule, reference, clip_vision)
        else:
            wish, side = chosen(rule, "rule", STROKE_RULES), TEXTURE_SIDE
        # With one weight for both the whole image counts, and nobody has to say where the subject is.
        apart = rule.get("subject_weight") != rule.get("ground_weight")
        subject = subject_of(saliency_model, mask) if apart else subject_for(wish, saliency_model, mask)
        return io.NodeOutput(ViewObjective(rule["rule"], wish, subject, draw_texture, side))


def _reference_wish(rule: dict[str, Any], reference: Any, clip_vision: Any) -> tuple[Any, int]:
    """The rule ``reference``, and the longer side of the copy that it looks at."""
    if reference is None:
        raise ValueError("There is no reference whose texture is wanted; connect an image to reference, or choose another rule.")
    images, weights, features = from_image(reference), (rule["subject_weight"], rule["ground_weight"]), rule.get("features", RANDOM_FILTERS)
    if clip_vision is not None:
        if features != RANDOM_FILTERS:
            raise ValueError(
                f"Either {features} or clip_vision measures texture: disconnect clip_vision, or set features to {RANDOM_FILTERS}."
            )
        encoder = VisionFeatures(clip_vision)
        return LearnedTexture(encoder, images, *weights), 2 * encoder.side
    if features != RANDOM_FILTERS:
        return LearnedTexture(texture_features(features), images, *weights, plain=True), NETWORK_SIDE
    return TextureStatistics(images, *weights), TEXTURE_SIDE


class ObjectiveScore(io.ComfyNode):
    """Any objective about finished images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_ObjectiveScore",
            display_name="Objective Score",
            category="SGOOL/evaluation",
            description="What any objective says about images that you already have: its loss (lower is better), its parts, and, for "
            "composition, color, light and texture, a drawing of what it measured.",
            search_aliases=[*ALIASES, "art score", "evaluate", "metric", "loss", "composition overlay", "grid overlay", "hue wheel"],
            inputs=[
                Objective.Input("objective", tooltip="From any node that makes one, also Saliency CLIP Loss and Combine Objectives."),
                io.Image.Input("images", tooltip="One image or many."),
            ],
            outputs=[
                io.Float.Output(display_name="mean", tooltip="The mean loss of all images. Lower is better."),
                io.Float.Output(display_name="losses", is_output_list=True, tooltip="One number for each image. Lower is better."),
                io.String.Output(display_name="table", tooltip="A line for each image, with the parts of the loss."),
                io.Image.Output(display_name="drawing", tooltip="What was measured, drawn over each image; the image if nothing can."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, objective: Any, images: Any) -> io.NodeOutput:
        losses, parts, drawn = objective_scores(objective, from_image(images))
        text = score_table(losses, parts)
        return io.NodeOutput(sum(losses) / len(losses), losses, text, to_image(drawn), ui={"text": (text,)})


NODES: list[type[io.ComfyNode]] = [CompositionNode, ColorNode, LightNode, TextureNode, ObjectiveScore]
