"""The methods that are compared: plain values, so that one is told from another by what it is, not by its name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace

from sgool.guidance.augmentations import Augmentations
from sgool.guidance.saliency_clip_loss import LossSettings
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.presets import DOODL, SEARCH_FIRST, SGOOL, Settings
from sgool.latent_optimization.regularizers import NormLikelihood, WhiteNoise
from sgool.latent_optimization.update_rules import AdamUpdate, DOODLUpdate, NormalizedGradient

from .trials import DecayingSteps, WhitenedGradient

NEAR = 3.0
STEPS, CFG, ITERATIONS = 8, 3.0, 10
BEST_OF = 3 * ITERATIONS + 1  # costs what ITERATIONS gradients do: a forward counts one, a backward two
AUGMENTATIONS = Augmentations("augmented", 3)
LIGHT = Augmentations("augmented", 3, smallest_zoom=1.0, jitter=0.2)
WHOLE = Augmentations("whole")
GLOBAL = LossSettings(w_salient=0.0, augmentations=AUGMENTATIONS)
ONE_VIEW = replace(GLOBAL, augmentations=WHOLE)
SALIENT = LossSettings(w_salient=1.0, augmentations=AUGMENTATIONS, region="blur surroundings")
NONE, SEGMENTER, RANDOM, CENTER, DEFAULT = "none", "segmenter", "random", "center-prior", "default"


@dataclass(frozen=True)
class Method:
    """One way from a prompt and a seed to an image.

    Attributes:
        settings: of the optimizer; with 0 iterations it samples plainly, or searches with ``best_of``.
        loss: of the objective; its saliency is ``saliency``.
        saliency: a name of the registry, or ``"segmenter"``, ``"random"``, ``"none"``.
        steps, cfg, sampler, scheduler: as KSampler has them; ``"EDICT"`` is the reversible sampler.
        zero_order: so many random neighbors are tried, each kept if it scores better; instead of gradients.
        near_misses: weight of the contrast with the prompt's own wrong variants (trials.py).
        search, search_steps: start from the best of so many noises, sampled in fewer steps.
        attending: weight of the salient term inside the encoder (trials.py), with ``saliency``.
    """

    settings: Settings = field(default_factory=lambda: Settings(iterations=0))
    loss: LossSettings = GLOBAL
    saliency: str = NONE
    steps: int = STEPS
    cfg: float = CFG
    sampler: str = "euler"
    scheduler: str = "normal"
    zero_order: int = 0
    near_misses: float = 0.0
    attending: float = 0.0
    search: int = 0
    search_steps: int = 0

    def fingerprint(self) -> str:
        """Changes with anything that changes the result."""
        plain = asdict(self)
        plain["rule"] = type(self.settings.rule).__name__
        plain["regularizer_name"] = type(self.settings.regularizer).__name__
        return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _settings(step: float = 0.03, **changes: object) -> Settings:
    base = Settings(iterations=ITERATIONS, rule=NormalizedGradient(step_size=step, momentum=0.9), returned="last")
    return replace(base, **changes)  # type: ignore[arg-type]


def gradient(step: float = 0.03, loss: LossSettings = GLOBAL, saliency: str = NONE, near_misses: float = 0.0, **changes: object) -> Method:
    """Optimization of the noise by gradient, the base of most others."""
    return Method(_settings(step, **changes), loss, saliency, near_misses=near_misses)


def anew(step: float = 0.03, **changes: object) -> Method:
    """Optimization by gradient that returns the iterate that is best by fresh augmentations."""
    return gradient(step, returned="rescored", **changes)  # type: ignore[arg-type]


def best_of(count: int, *, augmented: bool = False, near_misses: float = 0.0) -> Method:
    """The best of so many noises by the same loss, without gradients; scored as they are, or by the augmentations that gradients score."""
    return Method(Settings(iterations=0, best_of=count, search_augmented=augmented), near_misses=near_misses)


def _salient(saliency: str, **changes: object) -> Method:
    return anew(loss=replace(SALIENT, **changes), saliency=saliency)  # type: ignore[arg-type]


CONTENDERS: dict[str, Method] = {
    "plain": Method(),
    "plain, as many evaluations in steps": Method(steps=STEPS * BEST_OF),
    "best of 8": best_of(8),
    f"best of {BEST_OF}": best_of(BEST_OF),
    f"best of {BEST_OF}, augmented": best_of(BEST_OF, augmented=True),
    "zero-order search": Method(zero_order=BEST_OF - 1),
    "gradient": gradient(),
    "gradient, rescored": anew(),
    "gradient, whole image": gradient(loss=ONE_VIEW),
    "gradient and saliency": _salient(DEFAULT),
    "best of 16 (augmented), then gradient, rescored": anew(best_of=16, iterations=5, search_augmented=True),
    "DOODL's update": Method(
        Settings(iterations=ITERATIONS, rule=DOODLUpdate()), replace(GLOBAL, augmentations=Augmentations("cutouts", 16), reduce="minimum")
    ),
    "SGOOL: DOODL's update and saliency": Method(
        Settings(iterations=ITERATIONS, rule=DOODLUpdate()),
        LossSettings(w_salient=1.0, region="multiply", augmentations=Augmentations("cutouts", 16), reduce="minimum"),
        DEFAULT,
    ),
    "noise regularizer": anew(regularizer=WhiteNoise()),
    "norm regularizer": anew(regularizer=NormLikelihood(), renormalize="none"),
    "best of 60 in 4 steps (augmented), the best in 8": replace(best_of(1, augmented=True), search=60, search_steps=4),
    "4 steps, 20 iterations": replace(anew(iterations=2 * ITERATIONS), steps=4),
    "the nodes' defaults": Method(SEARCH_FIRST, LossSettings(w_salient=0.0)),  # what one gets who changes nothing
    "the nodes' defaults with saliency": Method(SEARCH_FIRST, LossSettings(), DEFAULT),  # and connects a saliency model
    "CFG 1, plain": Method(cfg=1.0),
    f"CFG 1, best of {BEST_OF}": replace(best_of(BEST_OF), cfg=1.0),
    "CFG 1, gradient, rescored": replace(anew(), cfg=1.0),
}


def _published(settings: Settings, loss: LossSettings, saliency: str = NONE) -> Method:
    """A preset with the procedure that it stands for."""
    procedure = settings.procedure
    assert procedure is not None
    augmentations = Augmentations("cutouts", procedure.cutouts, cut_power=procedure.cut_power)
    return Method(
        settings,
        replace(loss, augmentations=augmentations, reduce=procedure.reduce),
        saliency,
        procedure.steps,
        procedure.cfg,
        sampler="EDICT",
    )


# The published procedures as they are: some 15 000 evaluations an image.
PROCEDURES: dict[str, Method] = {
    "EDICT, 50 steps, CFG 7.5, plain": Method(steps=50, cfg=7.5, sampler="EDICT"),
    "DOODL, the whole procedure": _published(DOODL, GLOBAL),
    "SGOOL, the whole procedure": _published(SGOOL, replace(SALIENT, region="multiply"), DEFAULT),
}

# Can attention help at all? The same loss with another map.
SALIENCY: dict[str, Method] = {
    "map: segmenter (upper bound)": _salient(SEGMENTER),
    "map: random (control)": _salient(RANDOM),
    "map: default": _salient(DEFAULT),
    "map: segmenter, multiplied": _salient(SEGMENTER, region="multiply"),
    "map: random, multiplied": _salient(RANDOM, region="multiply"),
}
OTHER_MAPS: dict[str, Method] = {
    "map: center (control)": _salient(CENTER),
    "map: graph-based": _salient("graph-based"),
    "map: image signature": _salient("image-signature"),
    "map: spectral residual": _salient("spectral-residual"),
    "map: itti-koch": _salient("itti-koch"),
}

ABLATIONS: dict[str, Method] = {
    **OTHER_MAPS,
    "region: soft crop, segmenter": _salient(SEGMENTER, region="soft crop"),
    "region: multiply, default": _salient(DEFAULT, region="multiply"),
    "salient weight 0.3": _salient(DEFAULT, w_salient=0.3),
    "salient weight 3": _salient(DEFAULT, w_salient=3.0),
    "saliency not detached": _salient(DEFAULT, detach_saliency=False),
    "saliency every 5 iterations": _salient(DEFAULT, saliency_every=5),
    "7 augmentations": anew(loss=replace(GLOBAL, augmentations=Augmentations("augmented", 7))),
    "views of light and color only": anew(loss=replace(GLOBAL, augmentations=LIGHT)),
    "16 cutouts, mean": anew(loss=replace(GLOBAL, augmentations=Augmentations("cutouts", 16))),
    "minimum of augmentations": anew(loss=replace(GLOBAL, reduce="minimum")),
    "step 0.01": anew(0.01),
    "step 0.06": anew(0.06),
    "step 0.1": anew(0.1),
    "step 0.2": anew(0.2),
    "no momentum": anew(rule=NormalizedGradient(step_size=0.03, momentum=0.0)),
    "Adam 0.02": anew(rule=AdamUpdate(step_size=0.02)),
    "5 iterations": anew(iterations=5),
    "20 iterations": anew(iterations=20),
    "gradient of the last 4 calls": anew(jacobian=JacobianSchedule("last", 4)),
    "gradient of every 2nd call": anew(jacobian=JacobianSchedule("every", 2)),
    "returned: last": gradient(),
    "step 0.06, returned: last": gradient(0.06),
    "step 0.1, returned: last": gradient(0.1),
    "returned: best by loss": gradient(returned="best"),
    "CFG 6, plain": Method(cfg=6.0),
    "CFG 6": replace(anew(), cfg=6.0),
    "dpmpp_2m, plain": Method(sampler="dpmpp_2m"),
    "dpmpp_2m": replace(anew(), sampler="dpmpp_2m"),
    "euler_ancestral, plain": Method(sampler="euler_ancestral"),
    "euler_ancestral": replace(anew(), sampler="euler_ancestral"),
    "50 iterations": anew(iterations=50),
}


@dataclass(frozen=True)
class Improvement:
    """Something that might make it better: why, what was predicted before it was measured, and the method."""

    hypothesis: str
    prediction: str
    method: Method


IMPROVEMENTS: dict[str, Improvement] = {
    "choose the iterate anew": Improvement(
        "The last iterate may be one that fooled the augmentations it saw; fresh augmentations find the one that is better for true.",
        "2 points more than the last iterate",
        anew(),
    ),
    "near misses": Improvement(
        "Similarity to the prompt rewards what looks like its words; what matters is being nearer to it than to the prompts that it is "
        "easily confused with.",
        "5 points more than without, most on relations and attributes",
        gradient(near_misses=NEAR),
    ),
    f"near misses, best of {BEST_OF}": Improvement(
        "The same loss serves the search without gradients.", "3 points more", best_of(BEST_OF, augmented=True, near_misses=NEAR)
    ),
    "attention inside the encoder, segmenter": Improvement(
        "A masked image is nothing that the encoder has ever seen; a bias on the class token's attention leaves the image whole.",
        "3 points more than the same map on pixels",
        replace(anew(), saliency=SEGMENTER, attending=1.0),
    ),
    "attention inside the encoder, random": Improvement(
        "Control for the line above.", "less than the segmenter's map", replace(anew(), saliency=RANDOM, attending=1.0)
    ),
    "whitened gradient": Improvement(
        "The gradient's power lies in low frequencies; steps that look like white noise keep the noise one the model knows.",
        "2 points more",
        anew(rule=WhitenedGradient(step_size=0.03)),
    ),
    "coarse to fine": Improvement(
        "Large first steps change what is where, small last ones repair it; steps of one length do neither well.",
        "3 points more than steps of 0.03",
        gradient(rule=DecayingSteps(step_size=0.1, decay=0.75)),
    ),
    "best of 16 (augmented), then gradient": Improvement(
        "Composition is decided by the noise as a whole, details by gradients: choose first, then repair.",
        "5 points more than either alone",
        gradient(best_of=16, iterations=5, search_augmented=True),
    ),
    "best of 16 (augmented), then gradient, rescored": Improvement(
        "Of the start and the iterates, fresh augmentations tell which is better for true.",
        "3 points more than without",
        anew(best_of=16, iterations=5, search_augmented=True),
    ),
    "all iterates anew, 7 augmentations": Improvement(
        "More augmentations make gradients and choice more robust.",
        "2 points more",
        anew(rescoring_candidates=ITERATIONS + 1, loss=replace(GLOBAL, augmentations=Augmentations("augmented", 7))),
    ),
    "light augmentations, all iterates anew": Improvement(
        "Zooming in cuts off what the prompt asks for; augmentations that change light and color only do not.",
        "5 points more than zoomed augmentations",
        anew(rescoring_candidates=ITERATIONS + 1, loss=replace(GLOBAL, augmentations=LIGHT)),
    ),
    f"best of {BEST_OF}": Improvement(
        "Nothing is optimized against the scorer in a search, so nothing is gained by augmentations, and zoomed ones cut things off.",
        "3 points more than with augmentations",
        best_of(BEST_OF),
    ),
    "best of 60 in 4 steps (augmented), the best in 8": Improvement(
        "What stands where is decided early: twice as many noises in half the steps, the best of them in full.",
        "4 points more than the best of 31",
        replace(best_of(1, augmented=True), search=60, search_steps=4),
    ),
    "best of 8, then gradient, rescored": Improvement(
        "Search puts things where they belong, which gradients cannot; gradients repair colors and shapes, which search is bad at.",
        "5 points more than the best of 31",
        anew(best_of=8, iterations=8),
    ),
    "best of 16, then gradient, rescored": Improvement(
        "The same with more search.", "5 points more than the best of 31", anew(best_of=16, iterations=5)
    ),
    "best of 8, then small steps, rescored": Improvement(
        "The best of a search stands on a narrow ridge, from which steps of 0.03 fall off at once; steps of 0.01 stay on it.",
        "2 points more than with steps of 0.03",
        anew(0.01, best_of=8, iterations=8),
    ),
    "CFG 1, best of 8, then gradient, rescored": Improvement(
        "The same without guidance, where there is more to repair.",
        "5 points more than the best of 31",
        replace(anew(best_of=8, iterations=8), cfg=1.0),
    ),
}
