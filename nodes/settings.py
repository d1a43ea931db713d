"""SGOOL Settings: every number of the optimizer, as it is."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..latent_optimization.checkpointed_calls import JacobianSchedule
from ..latent_optimization.frames import CHOICES, Frames
from ..latent_optimization.presets import CHECK_PATCHED, DEFAULT_PRESET, DOODL, PRESETS, SGOOL, Preset, Procedure
from ..latent_optimization.regularizers import REGULARIZERS
from ..latent_optimization.settings import Settings, Stopping
from ..latent_optimization.smoothing import Smoothing
from ..latent_optimization.trust_region import TrustRegion
from ..latent_optimization.update_rules import UPDATE_RULES
from .sockets import OptimizationSettings
from .widgets import MOST, choice_of, chosen, widgets_of, with_known_choices

NONE = "none"
DEFAULTS = PRESETS[DEFAULT_PRESET].settings
PROCEDURES: dict[str, Procedure | None] = {NONE: None, "DOODL": DOODL.procedure, "SGOOL": SGOOL.procedure}
SMOOTHING: dict[str, type[Any]] = {"nearby noises": Smoothing}
TRUST_REGIONS: dict[str, type[Any]] = {"by ratio": TrustRegion}
TRUST = (
    "Steps as long as the gradient holds: longer where the loss fell as promised, shorter where it did not; a step that raised the loss "
)
TRUST += "is taken back. Costs one more look at the image in each iteration."
PLAIN = ("iterations", "best_of", "search_augmented", "precondition", "renormalize")
RESCORING = ["rescoring_candidates", "rescoring_augmentations"]
FRAMES = (
    "For videos: which frames the objective scores. Their losses are averaged, and each costs what an image costs. 'spread' takes a few, "
    "evenly; images are not affected."
)
STORED = (
    "How many of the last model calls keep what backward needs, instead of computing it again: faster, the same result, more memory. "
    "Automatic: as many as there is free memory for."
)
CALLS = "Which of the sampler's model calls the gradient passes through. Fewer is cheaper and approximate. "
CALLS += "'conditional': all calls, of guided ones the positive prompt's half."


def _returned() -> io.Input:
    field = Settings.__dataclass_fields__["returned"]
    names = sorted(field.metadata["options"], key=lambda name: name != DEFAULTS.returned)
    options = [io.DynamicCombo.Option(name, widgets_of(Settings, DEFAULTS, RESCORING) if name == "rescored" else []) for name in names]
    return io.DynamicCombo.Input("returned", options=options, tooltip=field.metadata["help"])


def _gradient_calls() -> io.Input:
    counts = {"last": "How many last calls.", "every": "Every how many calls, counted back from the last."}
    options = [io.DynamicCombo.Option("all", [])]
    options += [
        io.DynamicCombo.Option(name, [io.Int.Input("count", default=1, min=1, max=10000, tooltip=tooltip)])
        for name, tooltip in counts.items()
    ]
    options.append(io.DynamicCombo.Option("conditional", []))
    return io.DynamicCombo.Input("gradient_calls", options=options, tooltip=CALLS)


def _stored_calls() -> io.Input:
    number = io.Int.Input("calls", default=1, min=0, max=MOST, tooltip="How many of the last; 0 computes all of them again.")
    options = [io.DynamicCombo.Option("automatic", []), io.DynamicCombo.Option("number", [number])]
    return io.DynamicCombo.Input("stored_calls", options=options, tooltip=STORED)


def _frames() -> io.Input:
    counts = {
        "spread": io.Int.Input("count", default=Frames().count, min=1, max=MOST, tooltip="How many frames."),
        "every": io.Int.Input("count", default=8, min=1, max=MOST, tooltip="Every how many frames, beginning with the first."),
    }
    options = [io.DynamicCombo.Option(name, [counts[name]] if name in counts else []) for name in CHOICES]
    return io.DynamicCombo.Input("frames", options=options, tooltip=FRAMES)


def _target() -> io.Input:
    loss = io.Float.Input("target_loss", default=0.0, min=-1e6, max=1e6, step=0.001, round=False, tooltip="In units of the loss.")
    options = [io.DynamicCombo.Option(NONE, []), io.DynamicCombo.Option("stop at", [loss])]
    return io.DynamicCombo.Input("target", options=options, tooltip="Stop an image once its loss is low enough.")


class OptimizationSettingsNode(io.ComfyNode):
    """Every setting of the optimizer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_Settings",
            display_name="SGOOL Settings",
            category="SGOOL/sampling",
            description="Every number of the optimizer, as it is used: nothing of a preset is mixed in. Untouched it is the preset "
            f"{DEFAULT_PRESET!r}; the help page has a table of the others' values.",
            search_aliases=["sgool settings", "optimizer", "step size", "learning rate", "momentum", "early stop", "best of n", "adam"],
            inputs=[
                *widgets_of(Settings, DEFAULTS, ["iterations", "best_of", "search_augmented"]),
                choice_of("rule", UPDATE_RULES, "How a gradient becomes a step.", DEFAULTS.rule),
                choice_of("smoothing", SMOOTHING, "Gradients averaged over nearby noises.", DEFAULTS.smoothing, none=NONE),
                *widgets_of(Settings, DEFAULTS, ["precondition"]),
                choice_of("trust_region", TRUST_REGIONS, TRUST, DEFAULTS.trust_region, none=NONE),
                *widgets_of(Settings, DEFAULTS, ["renormalize"]),
                _returned(),
                *widgets_of(Stopping, DEFAULTS.stopping),
                _target(),
                _gradient_calls(),
                _frames(),
                choice_of("regularizer", REGULARIZERS, "A loss that keeps the noise like Gaussian noise.", none=NONE),
                io.Combo.Input(
                    "procedure",
                    options=list(PROCEDURES),
                    default=NONE,
                    tooltip="A published method's EDICT, 50 steps, CFG 7.5 and 16 random cutouts, in the place of the sampler node's and "
                    "the objective's (SGOOL Sampler takes the cutouts only); SGOOL also shows the salient part as the paper does.",
                ),
                *widgets_of(Preset, PRESETS[DEFAULT_PRESET], ["gradient_check"], advanced=True),
                _stored_calls(),
                *widgets_of(Preset, PRESETS[DEFAULT_PRESET], ["plot_images"], advanced=True),
            ],
            outputs=[OptimizationSettings.Output(display_name="settings", tooltip="For SGOOL KSampler and SGOOL Sampler.")],
        )

    @classmethod
    @with_known_choices("stored_calls")
    def execute(cls, **widgets: Any) -> io.NodeOutput:
        return io.NodeOutput(preset_from(widgets))


def preset_from(widgets: dict[str, Any]) -> Preset:
    """What the widgets of :class:`OptimizationSettingsNode` say. Raises ``ValueError`` for a number outside its range."""
    target, returned, calls = widgets["target"], widgets["returned"], widgets["gradient_calls"]
    stopping = {name: widgets[name] for name in ("patience", "min_improvement", "max_failures")}
    settings = Settings(
        **{name: widgets[name] for name in PLAIN},
        rule=chosen(widgets["rule"], "rule", UPDATE_RULES),
        smoothing=chosen(widgets["smoothing"], "smoothing", SMOOTHING),
        trust_region=chosen(widgets["trust_region"], "trust_region", TRUST_REGIONS),
        regularizer=chosen(widgets["regularizer"], "regularizer", REGULARIZERS),
        stopping=Stopping(**stopping, target_loss=target.get("target_loss")),
        **{"returned": returned["returned"], **{name: returned[name] for name in RESCORING if name in returned}},
    )
    jacobian = JacobianSchedule(calls["gradient_calls"], calls.get("count", 1))
    frames = Frames(widgets["frames"]["frames"], widgets["frames"].get("count", 1))
    check, stored = widgets.get("gradient_check", CHECK_PATCHED), widgets.get("stored_calls", {}).get("calls")
    shown = widgets.get("plot_images", Preset.plot_images)
    return Preset(settings, jacobian, PROCEDURES[widgets["procedure"]], check, frames, stored, shown)
