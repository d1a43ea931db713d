"""The methods that are compared: plain values, so that one is told from another by what it is, not by its name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace

from sgool.guidance.cutouts import ViewSampler
from sgool.guidance.saliency_clip_loss import LossSettings
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.presets import Settings
from sgool.latent_optimization.regularizers import NormLikelihood, WhiteNoise
from sgool.latent_optimization.update_rules import AdamUpdate, DOODLUpdate, NormalizedGradient

from .trials import DecayingSteps, WhitenedGradient

NEAR = 3.0
LATER = ("search", "search_steps")  # fields that came later: where they are 0, results from before still count
STEPS, CFG, ITERATIONS = 8, 3.0, 10
BEST_OF = 3 * ITERATIONS + 1  # costs what ITERATIONS gradients do: a forward counts one, a backward two
VIEWS = ViewSampler("augmented", 3)
WHOLE = ViewSampler("whole")
GLOBAL = LossSettings(w_salient=0.0, views=VIEWS)
SALIENT = LossSettings(w_salient=1.0, views=VIEWS, region="blur surroundings")
NONE, SEGMENTER, RANDOM, CENTRE, DEFAULT = "none", "segmenter", "random", "centre-prior", "default"


@dataclass(frozen=True)
class Method:
    """One way from a prompt and a seed to a picture.

    Attributes:
        settings: of the optimiser; with 0 iterations it samples plainly, or searches with ``best_of``.
        loss: of the objective; its saliency is ``saliency``.
        saliency: a name of the registry, or ``"segmenter"``, ``"random"``, ``"none"``.
        steps, cfg, sampler, scheduler: as KSampler has them; ``"EDICT"`` is the reversible sampler.
        zero_order: so many random neighbours are tried, each kept if it scores better; instead of gradients.
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
        plain = {name: value for name, value in asdict(self).items() if value or name not in LATER}
        plain["rule"] = type(self.settings.rule).__name__
        plain["regularizer_name"] = type(self.settings.regularizer).__name__
        return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _settings(step: float = 0.03, **changes: object) -> Settings:
    base = Settings(iterations=ITERATIONS, rule=NormalizedGradient(step_size=step, momentum=0.9), returned="last")
    return replace(base, **changes)  # type: ignore[arg-type]


def gradient(step: float = 0.03, loss: LossSettings = GLOBAL, saliency: str = NONE, near_misses: float = 0.0, **changes: object) -> Method:
    """Optimisation of the noise by gradient, the base of most others."""
    return Method(_settings(step, **changes), loss, saliency, near_misses=near_misses)


def best_of(count: int, loss: LossSettings = GLOBAL, near_misses: float = 0.0) -> Method:
    """The best of so many noises by the same loss, without gradients."""
    return Method(Settings(iterations=0, best_of=count), loss, near_misses=near_misses)


def _salient(saliency: str, **changes: object) -> Method:
    return gradient(loss=replace(SALIENT, **changes), saliency=saliency)  # type: ignore[arg-type]


CONTENDERS: dict[str, Method] = {
    "plain": Method(),
    "plain, as many evaluations in steps": Method(steps=STEPS * BEST_OF),
    "best of 8": best_of(8),
    f"best of {BEST_OF}": best_of(BEST_OF),
    f"best of {BEST_OF}, whole picture only": best_of(BEST_OF, replace(GLOBAL, views=WHOLE)),
    "zero-order search": Method(zero_order=BEST_OF - 1),
    "gradient": gradient(),
    "gradient, whole picture only": gradient(loss=replace(GLOBAL, views=WHOLE)),
    "DOODL update": Method(
        Settings(iterations=ITERATIONS, rule=DOODLUpdate()), replace(GLOBAL, views=ViewSampler("cutouts", 16), reduce="minimum")
    ),
    "SGOOL update": Method(
        Settings(iterations=ITERATIONS, rule=DOODLUpdate()),
        LossSettings(w_salient=1.0, region="multiply", views=ViewSampler("cutouts", 16), reduce="minimum"),
        DEFAULT,
    ),
    "gradient and saliency": _salient(DEFAULT),
    "best of 8, then gradient": gradient(best_of=8, iterations=8),
    "noise regulariser": gradient(regularizer=WhiteNoise()),
    "norm regulariser": gradient(regularizer=NormLikelihood(), renormalize="none"),
    "few steps (4), more iterations": replace(gradient(iterations=2 * ITERATIONS), steps=4),
}

# Can attention help at all? The same loss with another map.
SALIENCY: dict[str, Method] = {
    "map: segmenter (upper bound)": _salient(SEGMENTER),
    "map: random (control)": _salient(RANDOM),
    "map: centre (control)": _salient(CENTRE),
    "map: default": _salient(DEFAULT),
    "map: graph-based": _salient("graph-based"),
    "map: image signature": _salient("image-signature"),
    "map: spectral residual": _salient("spectral-residual"),
    "map: itti-koch": _salient("itti-koch"),
}

ABLATIONS: dict[str, Method] = {
    "region: multiply, segmenter": _salient(SEGMENTER, region="multiply"),
    "region: soft crop, segmenter": _salient(SEGMENTER, region="soft crop"),
    "region: multiply, default": _salient(DEFAULT, region="multiply"),
    "salient weight 0.3": _salient(DEFAULT, w_salient=0.3),
    "salient weight 3": _salient(DEFAULT, w_salient=3.0),
    "saliency not detached": _salient(DEFAULT, detach_saliency=False),
    "saliency every 5 iterations": _salient(DEFAULT, saliency_every=5),
    "7 views": gradient(loss=replace(GLOBAL, views=ViewSampler("augmented", 7))),
    "16 cutouts, mean": gradient(loss=replace(GLOBAL, views=ViewSampler("cutouts", 16))),
    "minimum of views": gradient(loss=replace(GLOBAL, reduce="minimum")),
    "step 0.01": gradient(0.01),
    "step 0.06": gradient(0.06),
    "step 0.1": gradient(0.1),
    "step 0.2": gradient(0.2),
    "no momentum": gradient(rule=NormalizedGradient(step_size=0.03, momentum=0.0)),
    "Adam 0.02": gradient(rule=AdamUpdate(step_size=0.02)),
    "5 iterations": gradient(iterations=5),
    "20 iterations": gradient(iterations=20),
    "50 iterations": gradient(iterations=50),
    "gradient of the last 4 calls": gradient(jacobian=JacobianSchedule("last", 4)),
    "gradient of every 2nd call": gradient(jacobian=JacobianSchedule("every", 2)),
    "returned: best by loss": gradient(returned="best"),
    "CFG 1": replace(gradient(), cfg=1.0),
    "CFG 1, plain": Method(cfg=1.0),
    f"CFG 1, best of {BEST_OF}": replace(best_of(BEST_OF), cfg=1.0),
    "CFG 6": replace(gradient(), cfg=6.0),
    "CFG 6, plain": Method(cfg=6.0),
    "sampler: dpmpp_2m": replace(gradient(), sampler="dpmpp_2m"),
    "sampler: dpmpp_2m, plain": Method(sampler="dpmpp_2m"),
    "sampler: euler_ancestral": replace(gradient(), sampler="euler_ancestral"),
}


@dataclass(frozen=True)
class Improvement:
    """Something that might make it better: why, what was predicted before it was measured, and the method."""

    hypothesis: str
    prediction: str
    method: Method


IMPROVEMENTS: dict[str, Improvement] = {
    "near misses": Improvement(
        "Similarity to the prompt rewards what looks like its words; what matters is being nearer to it than to the prompts that it is "
        "easily confused with.",
        "more right than gradient by 5 points, most on relations and attributes",
        gradient(near_misses=NEAR),
    ),
    f"near misses, best of {BEST_OF}": Improvement(
        "The same loss serves the search without gradients.",
        "less than with gradients",
        best_of(BEST_OF, near_misses=NEAR),
    ),
    "choose the iterate anew": Improvement(
        "The last iterate may be one that fooled the views it saw; fresh views find the one that is better for true.",
        "2 points more than the last iterate",
        gradient(returned="rescored"),
    ),
    "attention inside the encoder, segmenter": Improvement(
        "A masked picture is nothing that the encoder has ever seen; a bias on the class token's attention leaves the picture whole.",
        "3 points more than the same map on pixels",
        replace(gradient(), saliency=SEGMENTER, attending=1.0),
    ),
    "attention inside the encoder, random": Improvement(
        "Control for the line above.", "less than the segmenter's map", replace(gradient(), saliency=RANDOM, attending=1.0)
    ),
    "whitened gradient": Improvement(
        "The gradient's power lies in low frequencies; steps that look like white noise keep the noise one the model knows.",
        "2 points more, and larger steps are safe",
        gradient(rule=WhitenedGradient(step_size=0.03)),
    ),
    "coarse to fine": Improvement(
        "Large first steps change what is where, small last ones repair it; steps of one length do neither well.",
        "3 points more than steps of 0.03",
        gradient(rule=DecayingSteps(step_size=0.1, decay=0.75)),
    ),
    "best of 16, then gradient": Improvement(
        "Composition is decided by the noise as a whole, details by gradients: choose first, then repair.",
        "5 points more than either alone",
        gradient(best_of=16, iterations=5),
    ),
    "best of 16, then gradient, chosen anew": Improvement(
        "Of the start and the iterates, fresh views tell which is better for true.",
        "3 points more than without",
        gradient(best_of=16, iterations=5, returned="rescored"),
    ),
    "best of 16, then gradient, 7 views, chosen anew": Improvement(
        "More views make both choices and gradients more robust.",
        "2 points more",
        gradient(best_of=16, iterations=5, returned="rescored", loss=replace(GLOBAL, views=ViewSampler("augmented", 7))),
    ),
    "best of 16, then small steps, chosen anew": Improvement(
        "From a good start little is to be repaired; small steps stay near pictures that the scorer knows.",
        "2 points more",
        gradient(0.015, best_of=16, iterations=5, returned="rescored"),
    ),
    "best of 16, then gradient, saliency, chosen anew": Improvement(
        "A second, differently weighted view helps to choose and to repair.",
        "2 points more",
        gradient(best_of=16, iterations=5, returned="rescored", loss=SALIENT, saliency=SEGMENTER),
    ),
    "near misses, best of 16, then gradient, chosen anew": Improvement(
        "Both: choose and repair by what sets the prompt apart.",
        "5 points more than either",
        gradient(best_of=16, iterations=5, returned="rescored", near_misses=NEAR),
    ),
    "near misses, best of 62 in 4 steps": Improvement(
        "What stands where is decided early: twice as many noises in half the steps, the best of them in full.",
        "4 points more than the best of 31 in 8 steps",
        replace(best_of(1, near_misses=NEAR), search=60, search_steps=4),
    ),
    "near misses, best of 36 in 4 steps, then gradient, chosen anew": Improvement(
        "Search where it is cheap, repair where it counts.",
        "5 points more than the search alone",
        replace(gradient(iterations=4, returned="rescored", near_misses=NEAR), search=36, search_steps=4),
    ),
    "best of 62 in 4 steps": Improvement(
        "The same without near misses.", "4 points more than the best of 31", replace(best_of(1), search=60, search_steps=4)
    ),
    "all that won": Improvement("They add up.", "10 points more than the best of 31", gradient()),
}
