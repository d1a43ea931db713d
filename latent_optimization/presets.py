"""Everything that can be set about an optimization, and the named sets of it.

Where a number comes from is said at the rule or preset that has it, and in docs/method.md in one table.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from . import renormalize
from .checkpointed_calls import JacobianSchedule
from .regularizers import Regularizer
from .reversible import EDICT, Solver
from .stopping import Stopping
from .update_rules import DOODLUpdate, NormalizedGradient, UpdateRule

RETURNED = ("last", "best", "rescored")


@dataclass(frozen=True)
class Procedure:
    """How a published method samples and scores. The optimizer does not read this: whoever makes sampler and objective does.

    The defaults are DOODL's as released (github.com/salesforce/DOODL, doodl.py). Its latents are tied by default, which here is no choice:
    one noise starts both of a coupled pair.

    Args:
        solver: makes the image from the noise.
        steps: of the solver, at least 1.
        cfg: classifier-free guidance scale, finite and at least 0.
        cutouts: random cutouts of the image that are scored, at least 1.
        cut_power: exponent of a uniform number that places a cutout's side between the smallest and the largest; finite, at least 0.
        reduce: how their distances become a loss: ``"minimum"`` or ``"mean"``.
        region: how the salient part is shown to the scorer, by the objective's names; ``None`` leaves it to the objective.

    Raises:
        ValueError: for a value outside its range, with what was expected.
    """

    solver: Solver = field(default_factory=EDICT)
    steps: int = 50
    cfg: float = 7.5
    cutouts: int = 16
    cut_power: float = 0.3
    reduce: str = "minimum"
    region: str | None = None

    def __post_init__(self) -> None:
        _at_least(self, "steps", 1)
        _at_least(self, "cutouts", 1)
        _one_of(self, "reduce", ("minimum", "mean"))
        for name in ("cfg", "cut_power"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} is {value!r}; it has to be a finite number, 0 or more.")


@dataclass(frozen=True)
class Settings:
    """How the noise is optimized. Immutable; ``dataclasses.replace`` makes a changed copy, validated again.

    Args:
        iterations: updates of the noise, at least 0. With 0 nothing is optimized (but ``best_of`` still chooses).
        rule: how a gradient becomes a step (update_rules.py).
        renormalize: the norm that the noise keeps after each step: ``"initial"``, ``"shell"`` (sqrt of its size) or ``"none"``.
        regularizer: a loss of the noise itself, added with its weight (regularizers.py); ``None`` for none.
        best_of: start from the best of this many noises, the given one and fresh ones, chosen by the objective; 1 starts from the given.
        search_augmented: whether ``best_of`` scores the augmentations of the iterations. By default it scores without any randomness, which
            is cheaper and no worse: nothing is optimized against the scorer in a search (docs/does-it-work.md).
        stopping: early stop, and how many failures end an image (stopping.py).
        returned: which iterate is returned for each image. ``"last"``; ``"best"``: of the lowest loss; ``"rescored"``: the best of
            ``rescoring_candidates`` when rescored with augmentations that the optimization did not see.
        rescoring_candidates: for ``"rescored"``, how many are rescored: the last iterate and the lowest losses. At least 1.
        rescoring_augmentations: for ``"rescored"``, how many evaluations each score averages, at least 1; all candidates get the same
            augmentations.
        jacobian: which of the sampler's model calls carry their Jacobian. Read by what makes ``generate``, not by the loop.
        judge_both: where the sampler carries a coupled pair of latents (EDICT, McCallum-Foster), judge both and average their losses, at
            the price of a second evaluation. Also read by what makes ``generate``; other samplers have one latent, which is judged.
        procedure: solver, steps, guidance scale and cutouts, in the place of the user's; ``None`` leaves all of them to the user. Read by
            what makes ``generate`` and ``evaluate``.

    Raises:
        ValueError: for a value outside its range, with what was expected.
    """

    iterations: int = 10
    rule: UpdateRule = field(default_factory=NormalizedGradient)
    renormalize: str = "initial"
    regularizer: Regularizer | None = None
    best_of: int = 1
    search_augmented: bool = False
    stopping: Stopping = field(default_factory=Stopping)
    returned: str = "last"
    rescoring_candidates: int = 4
    rescoring_augmentations: int = 4
    jacobian: JacobianSchedule = field(default_factory=JacobianSchedule)
    judge_both: bool = False
    procedure: Procedure | None = None

    def __post_init__(self) -> None:
        _at_least(self, "iterations", 0)
        _at_least(self, "best_of", 1)
        _at_least(self, "rescoring_candidates", 1)
        _at_least(self, "rescoring_augmentations", 1)
        _one_of(self, "renormalize", renormalize.MODES)
        _one_of(self, "returned", RETURNED)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values; a rule, regularizer or solver also has its ``"name"``."""
        plain = asdict(self)
        for part in ("rule", "regularizer"):
            if isinstance(plain[part], dict):
                plain[part]["name"] = type(getattr(self, part)).__name__
        if self.procedure is not None:
            plain["procedure"]["solver"]["name"] = type(self.procedure.solver).__name__
        return plain


def _at_least(owner: object, name: str, lowest: int) -> None:
    value = getattr(owner, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name} is {value!r}; it has to be a whole number, at least {lowest}.")


def _one_of(owner: object, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(owner, name)
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it has to be one of {', '.join(choices)}.")


# DOODL as released (github.com/salesforce/DOODL, doodl.py): 50 updates, momentum, clipping, perturbation, the initial norm, no choice among
# iterates; EDICT, 50 steps, CFG 7.5, the minimum over 16 cutouts. Both latents of EDICT's pair are judged, and the pair is tied: one
# noise starts them both. Held against an independent transcription of it in tests/latent_optimization/reversible/test_procedure.py.
DOODL = Settings(iterations=50, rule=DOODLUpdate(), renormalize="initial", returned="last", judge_both=True, procedure=Procedure())

# The SGOOL paper (arXiv 2410.10257) builds on DOODL and leaves step, iterations, cutouts and the choice of iterate open: this project
# takes DOODL's for all of them. What sets the two apart is the objective, where SGOOL adds the salient term: the image times the map.
SGOOL = replace(DOODL, procedure=Procedure(region="multiply"))

# By what was measured on the demo model (docs/does-it-work.md): a few small steps, since large ones fool the scorer;
# of the iterates the best when rescored. Meant for an objective with augmentations, and for noise that is not to be replaced.
BALANCED = Settings(iterations=10, rule=NormalizedGradient(), renormalize="initial", returned="rescored")

# The same behind a search: the noise decides what stands where, which gradients cannot change; they repair colors and shapes.
SEARCH_FIRST = replace(BALANCED, best_of=16, iterations=5)

PRESETS: dict[str, Settings] = {"search first": SEARCH_FIRST, "balanced": BALANCED, "SGOOL": SGOOL, "DOODL": DOODL}
DEFAULT_PRESET = "search first"


def preset(name: str) -> Settings:
    """The settings of that name. Raises ``ValueError`` with the names there are, if there is none."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}. Presets: {', '.join(PRESETS)}.")
    return PRESETS[name]
