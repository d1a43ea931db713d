"""The methods that are compared: plain values, so that one is told from another by what it is, not by its name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sgool.guidance.augmentations import Augmentations
from sgool.guidance.saliency_clip_loss import LossSettings

from ..common import optimizer
from ..common.optimizer import AdamUpdate, DOODLUpdate, JacobianSchedule, NormalizedGradient, NormLikelihood, Preset, Settings, WhiteNoise

STEPS, CFG, ITERATIONS = 8, 3.0, 10
BEST_OF = 3 * ITERATIONS + 1  # costs what ITERATIONS gradients do: a forward counts one, a backward two
BASELINE = f"best of {BEST_OF}"
GLOBAL = LossSettings(w_salient=0.0, augmentations=Augmentations("augmented", 3))
SALIENT = replace(GLOBAL, w_salient=1.0, region="blur surroundings")
LIGHT = Augmentations("augmented", 3, smallest_zoom=1.0, color_jitter=0.2)
CUTOUTS = Augmentations("cutouts", 16)
NONE, SEGMENTER, RANDOM, CENTER, DEFAULT = "none", "segmenter", "random", "center-prior", "default"


@dataclass(frozen=True)
class Method:
    """One way from a prompt and a seed to an image.

    Attributes:
        preset: what the optimizer is told; with 0 iterations it samples plainly, or searches with ``best_of``.
        loss: of the objective; its saliency is ``saliency``.
        saliency: a name of the registry, or ``"segmenter"``, ``"random"``, ``"none"``.
        steps, cfg, sampler, scheduler: as KSampler has them; ``"EDICT"`` is the reversible sampler.
        few_steps: on the demo model with its LoRA for 4 steps at CFG 1.
    """

    preset: Preset = field(default_factory=lambda: Preset(Settings(iterations=0)))
    loss: LossSettings = GLOBAL
    saliency: str = NONE
    steps: int = STEPS
    cfg: float = CFG
    sampler: str = "euler"
    scheduler: str = "normal"
    few_steps: bool = False

    def fingerprint(self) -> str:
        """Changes with anything that changes the result."""
        names = [type(part).__name__ for part in (self.preset.settings.rule, self.preset.settings.regularizer)]
        return hashlib.sha256(json.dumps([names, asdict(self)], sort_keys=True, default=str).encode()).hexdigest()[:12]


def gradient(
    step: float = 0.03,
    *,
    loss: LossSettings = GLOBAL,
    saliency: str = NONE,
    jacobian: JacobianSchedule | None = None,
    returned: str = "last",
    **changes: Any,
) -> Method:
    """Optimization of the noise by gradient, the base of most others."""
    base = Settings(iterations=ITERATIONS, rule=NormalizedGradient(step_size=step, momentum=0.9), returned=returned)
    return Method(Preset(replace(base, **changes), jacobian or JacobianSchedule()), loss, saliency)


def rescored(step: float = 0.03, **changes: Any) -> Method:
    """Optimization by gradient that returns the iterate that is best by fresh augmentations."""
    return gradient(step, returned="rescored", **changes)


def best_of(count: int, *, augmented: bool = False) -> Method:
    """The best of so many noises by the same loss, without gradients; scored as they are, or by the augmentations that gradients score."""
    return Method(Preset(Settings(iterations=0, best_of=count, search_augmented=augmented)))


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
MULTIPLIED = replace(SALIENT, region="multiply")
CONTENDERS: dict[str, Method] = {
    "plain": Method(),
    "plain, as many evaluations in steps": Method(steps=STEPS * BEST_OF),
    "best of 8": best_of(8),
    BASELINE: best_of(BEST_OF),
    f"{BASELINE}, augmented": best_of(BEST_OF, augmented=True),
    "gradient": gradient(),
    "gradient, rescored": rescored(),
    "gradient, whole image": gradient(loss=replace(GLOBAL, augmentations=Augmentations("whole"))),
    "gradient and saliency": salient(DEFAULT),
    "best of 8, then gradient, rescored": rescored(best_of=8, iterations=8),
    "best of 16, then gradient, rescored": rescored(best_of=16, iterations=5),
    "best of 16 (augmented), then gradient, rescored": rescored(best_of=16, iterations=5, search_augmented=True),
    "DOODL's update": Method(DOODLS_RULE, replace(GLOBAL, augmentations=CUTOUTS, reduce="minimum")),
    "SGOOL: DOODL's update and saliency": Method(DOODLS_RULE, replace(MULTIPLIED, augmentations=CUTOUTS, reduce="minimum"), DEFAULT),
    "the nodes' defaults": Method(optimizer.SEARCH_FIRST, LossSettings(w_salient=0.0)),  # what one gets who changes nothing
    "the nodes' defaults with saliency": Method(optimizer.SEARCH_FIRST, LossSettings(), DEFAULT),  # and connects a saliency model
    "CFG 1, plain": Method(cfg=1.0),
    f"CFG 1, {BASELINE}": replace(best_of(BEST_OF), cfg=1.0),
    "CFG 1, gradient, rescored": replace(rescored(), cfg=1.0),
}

# The published procedures as they are: some 15 000 evaluations an image.
PROCEDURES: dict[str, Method] = {
    "EDICT, 50 steps, CFG 7.5, plain": Method(steps=50, cfg=7.5, sampler="EDICT"),
    "DOODL, the whole procedure": published(optimizer.DOODL, GLOBAL),
    "SGOOL, the whole procedure": published(optimizer.SGOOL, MULTIPLIED, DEFAULT),
}

# Can attention help at all? The same loss with another map.
SALIENCY: dict[str, Method] = {
    "map: segmenter (upper bound)": salient(SEGMENTER),
    "map: random (control)": salient(RANDOM),
    "map: default": salient(DEFAULT),
    "map: segmenter, multiplied": salient(SEGMENTER, region="multiply"),
    "map: random, multiplied": salient(RANDOM, region="multiply"),
}

ABLATIONS: dict[str, Method] = {
    **{f"map: {name}": salient(name) for name in (CENTER, "graph-based", "image-signature", "spectral-residual", "itti-koch")},
    "region: soft crop, segmenter": salient(SEGMENTER, region="soft crop"),
    "region: multiply, default": salient(DEFAULT, region="multiply"),
    **{f"salient weight {weight}": salient(DEFAULT, w_salient=weight) for weight in (0.3, 3.0)},
    "saliency not detached": salient(DEFAULT, detach_saliency=False),
    "saliency every 5 iterations": salient(DEFAULT, saliency_every=5),
    "7 augmentations": rescored(loss=replace(GLOBAL, augmentations=Augmentations("augmented", 7))),
    "augmentations of light and color only": rescored(loss=replace(GLOBAL, augmentations=LIGHT)),
    "16 cutouts, mean": rescored(loss=replace(GLOBAL, augmentations=CUTOUTS)),
    "minimum of augmentations": rescored(loss=replace(GLOBAL, reduce="minimum")),
    **{f"step {step}": rescored(step) for step in (0.01, 0.06, 0.1, 0.2)},
    **{f"step {step}, returned: last": gradient(step) for step in (0.06, 0.1)},
    "no momentum": rescored(rule=NormalizedGradient(step_size=0.03, momentum=0.0)),
    "Adam 0.02": rescored(rule=AdamUpdate(step_size=0.02)),
    **{f"{count} iterations": rescored(iterations=count) for count in (5, 20, 50)},
    "4 steps, 20 iterations": replace(rescored(iterations=20), steps=4),
    "gradient of the last 4 calls": rescored(jacobian=JacobianSchedule("last", 4)),
    "gradient of every 2nd call": rescored(jacobian=JacobianSchedule("every", 2)),
    "returned: last": gradient(),
    "returned: best by loss": gradient(returned="best"),
    "noise regularizer": rescored(regularizer=WhiteNoise()),
    "norm regularizer": rescored(regularizer=NormLikelihood(), renormalize="none"),
    "CFG 6, plain": Method(cfg=6.0),
    "CFG 6": replace(rescored(), cfg=6.0),
    **{f"{name}, plain": Method(sampler=name) for name in ("dpmpp_2m", "euler_ancestral")},
    **{name: replace(rescored(), sampler=name) for name in ("dpmpp_2m", "euler_ancestral")},
}


def in_four_steps(method: Method) -> Method:
    """The same on the few-step model, with the settings that it was made for."""
    return replace(method, few_steps=True, steps=4, cfg=1.0, scheduler="sgm_uniform")


def whole(settings: Settings) -> Method:
    """Optimization for the image as it is, as ReNO does."""
    return Method(Preset(settings), replace(GLOBAL, augmentations=Augmentations("whole")))


def search_first(best: int, iterations: int) -> Method:
    """The default preset with another search and number of iterations."""
    settings = replace(optimizer.SEARCH_FIRST.settings, best_of=best, iterations=iterations)
    return Method(replace(optimizer.SEARCH_FIRST, settings=settings))


RENO = optimizer.preset("ReNO").settings
WHITE = Settings(precondition="white", renormalize="white", rule=AdamUpdate(step_size=0.02), returned="best")
# In pairs of equal cost: 32 runs of 4 calls are 128, and so are 10 iterations, which cost three runs each, and one run more or one search.
FEW_STEPS: dict[str, Method] = {
    name: in_four_steps(method)
    for name, method in {
        "4 steps, plain": Method(),
        "4 steps, best of 8": best_of(8),
        "4 steps, best of 32": best_of(32),
        "4 steps, best of 128": best_of(128),
        "4 steps, trust region, 10 iterations": search_first(1, 10),
        "4 steps, best of 16, then 5 iterations": search_first(16, 5),
        "4 steps, best of 64, then 21 iterations": search_first(64, 21),
        "4 steps, ReNO, 10 iterations": whole(replace(RENO, iterations=10)),
        "4 steps, white projection, 10 iterations": whole(replace(WHITE, iterations=10)),
        "4 steps, best of 8, then white projection, 8 iterations": whole(replace(WHITE, best_of=8, iterations=8)),
    }.items()
}

GROUPS = {"contenders": CONTENDERS, "saliency": SALIENCY, "ablations": ABLATIONS, "procedures": PROCEDURES, "few steps": FEW_STEPS}
