"""SGOOL Settings: a preset, and whatever is to be different from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..latent_optimization import renormalize
from ..latent_optimization.checkpointed_calls import CHOICES, JacobianSchedule
from ..latent_optimization.presets import DEFAULT_PRESET, PRESETS, RETURNED, Procedure, Settings, preset
from ..latent_optimization.regularizers import NormLikelihood, WhiteNoise
from ..latent_optimization.update_rules import AdamUpdate, DOODLUpdate, NormalizedGradient
from .sockets import OptimizationSettings

AS_PRESET = "as preset"
RULES: dict[str, type[Any]] = {"normalized gradient": NormalizedGradient, "DOODL": DOODLUpdate, "Adam": AdamUpdate}
# Which field of each rule a widget sets. A widget that a rule has no field for does nothing there.
RULE_FIELDS: dict[str, dict[str, str]] = {
    "normalized gradient": {"step_size": "step_size", "momentum": "momentum"},
    "DOODL": {"momentum": "momentum", "gradient_scale": "gradient_scale", "clip": "clip", "perturbation": "perturbation"},
    "Adam": {"step_size": "step_size", "momentum": "beta1", "beta2": "beta2"},
}
REGULARIZERS: dict[str, type[Any]] = {"norm": NormLikelihood, "white noise": WhiteNoise}
PROCEDURES: dict[str, Procedure | None] = {
    "published (EDICT, 50 steps, CFG 7.5, 16 cutouts)": Procedure(),
    "sampler and objective nodes": None,
}
SEARCHES = {"as they are": False, "augmented": True}
UNSET = -1.0


def _combo(name: str, options: list[str], tooltip: str, advanced: bool = False) -> io.Input:
    return io.Combo.Input(name, options=[AS_PRESET, *options], default=AS_PRESET, tooltip=tooltip, advanced=advanced)


def _number(name: str, high: float, tooltip: str, advanced: bool = False) -> io.Input:
    return io.Float.Input(
        name, default=UNSET, min=UNSET, max=high, step=0.0001, round=False, tooltip=f"{tooltip} -1: as preset.", advanced=advanced
    )


def _count(name: str, tooltip: str, advanced: bool = False) -> io.Input:
    return io.Int.Input(name, default=-1, min=-1, max=10000, tooltip=f"{tooltip} -1: as preset.", advanced=advanced)


class OptimizationSettingsNode(io.ComfyNode):
    """Every setting of the optimizer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SGOOL_Settings",
            display_name="SGOOL Settings",
            category="SGOOL/sampling",
            description="Every setting of the optimizer. Starts from a preset; what is left at 'as preset' or -1 stays as it is there.",
            search_aliases=["sgool settings", "optimizer", "step size", "momentum", "early stop", "best of n"],
            inputs=[
                io.Combo.Input("preset", options=list(PRESETS), default=DEFAULT_PRESET, tooltip="Where to start from."),
                _count("iterations", "How often the noise is improved, where the sampler node's own iterations are -1."),
                _combo("rule", list(RULES), "How a gradient becomes a step."),
                _number(
                    "step_size",
                    1000.0,
                    "Size of a step, in standard deviations of the noise (normalized gradient), or Adam's learning rate.",
                ),
                _number("momentum", 0.9999, "How much of the last steps is kept (for Adam: beta1)."),
                _combo("renormalize", list(renormalize.MODES), "The norm that the noise keeps: its own, a Gaussian's, or none."),
                _count("best_of", "Start from the best of this many noises, chosen by the objective; the first is the seed's own."),
                _combo(
                    "returned",
                    list(RETURNED),
                    "Which iterate is returned for each image: the last, that of the lowest loss, or the best when rescored.",
                ),
                _count("patience", "Stop an image after this many iterations without improvement; 0: never."),
                _combo(
                    "gradient_calls",
                    list(CHOICES),
                    "Which of the sampler's model calls the gradient passes through: all (exact), the last few, or every few. Fewer is "
                    "cheaper and approximate.",
                ),
                _count("gradient_calls_count", "How many last calls ('last'), or every how many ('every')."),
                _number("gradient_scale", 1e6, "DOODL: factor of the gradient.", advanced=True),
                _number("clip", 1e6, "DOODL: largest magnitude of an element of the gradient.", advanced=True),
                _number("perturbation", 1000.0, "DOODL: noise added in each step.", advanced=True),
                _number("beta2", 0.999999, "Adam: how much of the squared gradients is kept.", advanced=True),
                _combo("regularizer", ["none", *REGULARIZERS], "A loss that keeps the noise like Gaussian noise.", advanced=True),
                _number("regularizer_weight", 1e6, "Weight of that loss.", advanced=True),
                _number("min_improvement", 1e6, "By how much a loss must fall to count as better.", advanced=True),
                io.Boolean.Input("stop_at_target", default=False, tooltip="Stop an image once it reaches target_loss.", advanced=True),
                io.Float.Input("target_loss", default=0.0, min=-1e6, max=1e6, step=0.001, round=False, tooltip="See above.", advanced=True),
                _count("max_failures", "Stop an image after this many losses or gradients in a row that are not finite.", advanced=True),
                _count("rescoring_candidates", "For 'rescored': how many iterates are rescored.", advanced=True),
                _count("rescoring_augmentations", "For 'rescored': how many scorings are averaged for each.", advanced=True),
                _combo(
                    "procedure",
                    list(PROCEDURES),
                    "Who sets sampler, steps, CFG and the augmentations. 'published': DOODL's own, of which SGOOL Sampler takes only the "
                    "cutouts. 'sampler and objective nodes': whatever is set there. The presets SGOOL and DOODL are published, the "
                    "others are not.",
                ),
                _combo(
                    "search_scoring",
                    list(SEARCHES),
                    "For best_of: score images as they are, which is cheaper, or by the augmentations of the iterations.",
                    advanced=True,
                ),
            ],
            outputs=[OptimizationSettings.Output(tooltip="Settings for SGOOL Sampler and SGOOL KSampler.")],
        )

    @classmethod
    def execute(cls, preset: str, **widgets: Any) -> io.NodeOutput:
        return io.NodeOutput(settings_from(preset, widgets))


def settings_from(preset_name: str, widgets: dict[str, Any]) -> Settings:
    """The settings of a preset with the widgets' changes. Raises ``ValueError`` for a value outside its range."""
    base = preset(preset_name)
    set_ = {name: value for name, value in widgets.items() if value not in (AS_PRESET, UNSET)}
    stopping: dict[str, Any] = {name: set_[name] for name in ("patience", "min_improvement", "max_failures") if name in set_}
    if set_.get("stop_at_target"):
        stopping["target_loss"] = set_.get("target_loss", UNSET)  # -1 is a loss like any other
    plain = ("iterations", "renormalize", "best_of", "returned", "rescoring_candidates", "rescoring_augmentations")
    return replace(
        base,
        **{name: set_[name] for name in plain if name in set_},
        rule=_rule(base, set_),
        regularizer=_regularizer(base, set_),
        search_augmented=SEARCHES[set_["search_scoring"]] if "search_scoring" in set_ else base.search_augmented,
        procedure=PROCEDURES[set_["procedure"]] if "procedure" in set_ else base.procedure,
        stopping=replace(base.stopping, **stopping),
        jacobian=JacobianSchedule(
            set_.get("gradient_calls", base.jacobian.choice), int(set_.get("gradient_calls_count", base.jacobian.count))
        ),
    )


def _rule(base: Settings, set_: dict[str, Any]) -> Any:
    own = next(name for name, kind in RULES.items() if isinstance(base.rule, kind))
    name = set_.get("rule", own)
    rule: Any = base.rule if name == own else RULES[name]()
    return replace(rule, **{field: set_[widget] for widget, field in RULE_FIELDS[name].items() if widget in set_})


def _regularizer(base: Settings, set_: dict[str, Any]) -> Any:
    name = set_.get("regularizer")
    if name == "none":
        return None
    chosen: Any = base.regularizer if name is None else REGULARIZERS[name]()
    weight = set_.get("regularizer_weight")
    return replace(chosen, weight=weight) if chosen is not None and weight is not None else chosen
