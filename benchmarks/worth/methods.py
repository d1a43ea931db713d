"""The methods that are compared: plain values, so that one is told from another by what it is, not by its name."""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sgool.guidance.augmentations import Augmentations
from sgool.guidance.saliency_clip_loss import LossSettings
from sgool.harness.problems import SetupProblem
from sgool.latent_optimization import presets
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.regularizers import NormLikelihood, WhiteNoise
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.update_rules.adam import AdamUpdate
from sgool.latent_optimization.update_rules.doodl import DOODLUpdate
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient

from .zero_order import ZeroOrder

STEPS, CFG, ITERATIONS = 8, 3.0, 10
BEST_OF = 3 * ITERATIONS + 1  # costs what ITERATIONS gradients do: a forward counts one, a backward two
BASELINE = f"best of {BEST_OF}"
GLOBAL = LossSettings(w_salient=0.0, region="blur surroundings", augmentations=Augmentations("augmented", 3))
SALIENT = replace(GLOBAL, w_salient=1.0)
MULTIPLIED = replace(SALIENT, region="multiply")
CUTOUTS = Augmentations("cutouts", 16)
NONE, SEGMENTER, RANDOM, DEFAULT = "none", "segmenter", "random", "default"


@dataclass(frozen=True)
class Method:
    """One way from a prompt and a seed to an image.

    Attributes:
        preset: what the optimizer is told; with 0 iterations it samples plainly, or searches with ``best_of``.
        loss: of the objective; its saliency is ``saliency``.
        saliency: a name of the registry, or ``"segmenter"``, ``"random"``, ``"none"``.
        steps, cfg, sampler, scheduler: as KSampler has them; ``"EDICT"`` is the reversible sampler.
        few_steps: on the demo model with its LoRA for 4 steps at CFG 1.
        zero_order: searched in the place of the preset.
    """

    preset: Preset = field(default_factory=lambda: Preset(Settings(iterations=0)))
    loss: LossSettings = GLOBAL
    saliency: str = NONE
    steps: int = STEPS
    cfg: float = CFG
    sampler: str = "euler"
    scheduler: str = "normal"
    few_steps: bool = False
    zero_order: ZeroOrder | None = None

    @property
    def noises(self) -> int:
        """How many plain samples cost as many model evaluations."""
        return self.zero_order.noises if self.zero_order is not None else runs_of(self.preset.settings)

    def fingerprint(self) -> str:
        """Changes with anything that changes the result."""
        names = [type(part).__name__ for part in (self.preset.settings.rule, self.preset.settings.regularizer)]
        return hashlib.sha256(json.dumps([names, asdict(self)], sort_keys=True, default=str).encode()).hexdigest()[:12]


def runs_of(settings: Settings) -> int:
    """What optimizing costs, in plain samples: its search; three for each iteration, whose calls are made, made again for backward (where
    they are not kept) and differentiated; and the last iterate, which has no gradient."""
    searched = settings.best_of if settings.best_of > 1 or not settings.iterations else 0
    return searched + 3 * settings.iterations + bool(settings.iterations)


def gradient(step: float = 0.03, *, loss: LossSettings = GLOBAL, saliency: str = NONE, calls: Any = None, **changes: Any) -> Method:
    """Optimization of the noise by gradient, the base of most others. ``calls``: which of them have a gradient, if not all."""
    base = Settings(iterations=ITERATIONS, rule=NormalizedGradient(step_size=step, momentum=0.9), returned="last")
    return Method(Preset(replace(base, **changes), calls or JacobianSchedule()), loss, saliency)


def rescored(step: float = 0.03, **changes: Any) -> Method:
    """Optimization by gradient that returns the iterate that is best by fresh augmentations."""
    return gradient(step, **{"returned": "rescored", **changes})


def best_of(count: int) -> Method:
    """The best of so many noises by the loss of the images as they are, without gradients."""
    return Method(Preset(Settings(iterations=0, best_of=count)))


def salient(saliency: str, **changes: Any) -> Method:
    """``rescored`` with a salient term."""
    return rescored(loss=replace(SALIENT, **changes), saliency=saliency)


def published(preset: Preset, loss: LossSettings, saliency: str = NONE) -> Method:
    """A preset with the procedure that it stands for."""
    procedure = preset.procedure
    assert procedure is not None
    cutouts = Augmentations("cutouts", procedure.cutouts, cut_power=procedure.cut_power)
    loss = replace(loss, augmentations=cutouts, reduce=procedure.reduce)
    return Method(preset, loss, saliency, procedure.steps, procedure.cfg, sampler="EDICT")


DOODLS_RULE = Preset(Settings(iterations=ITERATIONS, rule=DOODLUpdate()))
DOODLS_UPDATE = Method(DOODLS_RULE, replace(GLOBAL, augmentations=CUTOUTS, reduce="minimum"))
SGOOLS_UPDATE = replace(DOODLS_UPDATE, loss=replace(MULTIPLIED, augmentations=CUTOUTS, reduce="minimum"), saliency=DEFAULT)
CONTENDERS: dict[str, Method] = {
    "plain": Method(),
    "plain, as many evaluations in steps": Method(steps=STEPS * BEST_OF),
    "best of 8": best_of(8),
    BASELINE: best_of(BEST_OF),
    "gradient": gradient(),
    "gradient, rescored": rescored(),
    "best of 8, then gradient, rescored": rescored(best_of=8, iterations=8),
    "best of 16, then gradient, rescored": rescored(best_of=16, iterations=5),
    "DOODL's update": DOODLS_UPDATE,
    "SGOOL: DOODL's update and saliency": SGOOLS_UPDATE,
    "the nodes' defaults": Method(presets.SEARCH_FIRST, LossSettings(w_salient=0.0)),  # what one gets who changes nothing
    "the nodes' defaults with saliency": Method(presets.SEARCH_FIRST, LossSettings(), DEFAULT),  # and connects a saliency model
}

# The published procedures as they are: some 15 000 model calls an image, a gradient counted as two.
PROCEDURES: dict[str, Method] = {
    "EDICT, 50 steps, CFG 7.5, plain": Method(steps=50, cfg=7.5, sampler="EDICT"),
    "DOODL, the whole procedure": published(presets.DOODL, GLOBAL),
    "SGOOL, the whole procedure": published(presets.SGOOL, MULTIPLIED, DEFAULT),
}

# Can attention help at all? The same loss with another map.
SALIENCY: dict[str, Method] = {
    "map: segmenter (upper bound)": salient(SEGMENTER),
    "map: random (control)": salient(RANDOM),
    "map: default": salient(DEFAULT),
    "map: segmenter, multiplied": salient(SEGMENTER, region="multiply"),
    "map: random, multiplied": salient(RANDOM, region="multiply"),
}


def in_four_steps(method: Method) -> Method:
    """The same on the few-step model, with the settings that it was made for."""
    return replace(method, few_steps=True, steps=4, cfg=1.0, scheduler="sgm_uniform")


def whole(settings: Settings) -> Method:
    """Optimization for the image as it is, as ReNO does."""
    return Method(Preset(settings), replace(GLOBAL, augmentations=Augmentations("whole")))


def search_first(best: int, iterations: int) -> Method:
    """The default preset with another search and number of iterations."""
    settings = replace(presets.SEARCH_FIRST.settings, best_of=best, iterations=iterations)
    return Method(replace(presets.SEARCH_FIRST, settings=settings))


RENO = presets.preset("ReNO").settings
WHITE = Settings(precondition="white", renormalize="white", rule=AdamUpdate(step_size=0.02), returned="best")


def of_cost(noises: int) -> dict[str, Method]:
    """All ways to spend what sampling ``noises``, a power of two from 8 on, takes: an iteration costs three runs."""
    alone, half, quarter = (noises - 1) // 3, noises // 2, noises // 4
    after_half, after_quarter = (noises - half - 1) // 3, (noises - quarter) // 3
    searched, rounds = f"best of {half}, then", noises // 4  # a round of the zero-order search samples four
    return {
        f"best of {noises}": best_of(noises),
        f"trust region, {alone} iterations": search_first(1, alone),
        f"{searched} {after_half} iterations": search_first(half, after_half),
        f"ReNO, {alone} iterations": whole(replace(RENO, iterations=alone)),
        f"{searched} ReNO, {after_half} iterations": whole(replace(RENO, best_of=half, iterations=after_half)),
        f"DOODL's update, {alone} iterations": replace(DOODLS_UPDATE, preset=DOODLS_RULE.with_iterations(alone)),
        f"SGOOL's update, {alone} iterations": replace(SGOOLS_UPDATE, preset=DOODLS_RULE.with_iterations(alone)),
        f"white projection, {alone} iterations": whole(replace(WHITE, iterations=alone)),
        f"best of {quarter}, then white projection, {after_quarter} iterations": whole(
            replace(WHITE, best_of=quarter, iterations=after_quarter)
        ),
        f"zero-order search, {noises + 1} noises": Method(zero_order=ZeroOrder(1, rounds)),
        f"{searched} zero-order search, {half} noises": Method(zero_order=ZeroOrder(half, rounds // 2)),
    }


COSTS = 8, 32, 128, 512  # of as many noises
ON_HARD: dict[str, Method] = {
    "plain": Method(),
    **{name: method for noises in COSTS for name, method in of_cost(noises).items()},
    "best of 16, then 5 iterations with a salient term": replace(search_first(16, 5), loss=SALIENT, saliency=DEFAULT),
}
FEW_STEPS: dict[str, Method] = {f"4 steps, {name}": in_four_steps(method) for name, method in ON_HARD.items()}
EIGHT_STEPS: dict[str, Method] = {f"8 steps, {name}": method for name, method in ON_HARD.items()}
BEDS = {4: FEW_STEPS, 8: EIGHT_STEPS}

GROUPS = {"contenders": CONTENDERS, "saliency": SALIENCY, "procedures": PROCEDURES, "few steps": FEW_STEPS, "eight steps": EIGHT_STEPS}
METHODS = {name: method for group in GROUPS.values() for name, method in group.items()}


WORDS: dict[str, Any] = {
    word.__name__: word
    for word in (gradient, rescored, best_of, salient, search_first, whole, in_four_steps, replace, Method, LossSettings, Augmentations)
}
WORDS |= {word.__name__: word for word in (AdamUpdate, DOODLUpdate, NormalizedGradient, JacobianSchedule, NormLikelihood, WhiteNoise)}
WORDS |= {name: globals()[name] for name in ("GLOBAL", "RENO", "WHITE", "SALIENT", "CUTOUTS", "NONE", "SEGMENTER", "RANDOM", "DEFAULT")}


def method_of(name: str) -> Method:
    """The one of this name, or what an expression in ``WORDS`` makes, calls of them within calls: ``rescored(0.06, iterations=20)``.

    Raises SetupProblem for neither.
    """
    try:
        made = METHODS[name] if name in METHODS else _made(ast.parse(name, mode="eval").body)
    except (SyntaxError, KeyError, ValueError, TypeError) as error:
        made = error
    if not isinstance(made, Method):
        raise SetupProblem(f"there is no method {name!r} ({made}). Methods: {'; '.join(METHODS)}. Words: {', '.join(WORDS)}.")
    return made


def _made(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return WORDS[node.id]
    if isinstance(node, ast.Call):
        named = {each.arg: _made(each.value) for each in node.keywords if each.arg is not None}
        return _made(node.func)(*map(_made, node.args), **named)
    return ast.literal_eval(node)
