"""The named ways to optimize: settings of the loop, and of what surrounds it.

Where a number comes from is said at the rule or preset that has it, and in docs/method.md in one table.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..schema.ranged import Ranged, choice, count, number
from .checkpointed_calls import JacobianSchedule
from .frames import Frames
from .regularizers import NormLikelihood
from .reversible import EDICT, Solver
from .settings import Settings
from .trust_region import TrustRegion
from .update_rules.doodl import DOODLUpdate
from .update_rules.normalized_gradient import NormalizedGradient
from .update_rules.sgd import SGDUpdate


@dataclass(frozen=True)
class Procedure(Ranged):
    """How a published method samples and scores, in the place of the user's sampler, steps, CFG and augmentations.

    The defaults are DOODL's as released (github.com/salesforce/DOODL, doodl.py). Its latents are tied by default, which here is no choice:
    one noise starts both of a coupled pair. Both are scored and their losses averaged, at the price of a second evaluation.

    Args:
        solver: makes the image from the noise.
        region: how the salient part is shown to the reward, by the objective's names; ``None`` leaves it to the objective.

    Raises:
        ValueError: for a value outside its range, with what was expected.
    """

    solver: Solver = field(default_factory=EDICT)
    steps: int = count(50, at_least=1, help="Of the solver.")
    cfg: float = number(7.5, at_least=0, help="Classifier-free guidance scale.")
    cutouts: int = count(16, at_least=1, help="Random cutouts of the image that are scored.")
    cut_power: float = number(
        0.3, at_least=0, help="Exponent of the uniform number that places a cutout's side between smallest and largest."
    )
    reduce: str = choice("minimum", ("minimum", "mean"), help="How the cutouts' losses become one.")
    region: str | None = None


CHECK_PATCHED, CHECK_ALWAYS, CHECK_NEVER = CHECKS = ("other packs' code", "always", "never")


@dataclass(frozen=True)
class Preset(Ranged):
    """What an SGOOL sampler is told.

    Args:
        settings: of the loop.
        jacobian: which of the sampler's model calls carry their Jacobian.
        procedure: sampler, steps, CFG and augmentations of a published method; ``None`` leaves all of them to the user.
        frames: which frames of a video are scored.
        stored_calls: how many of the last model calls keep their activations for backward; ``None``: as many as there is memory for.

    Raises:
        ValueError: for an unknown ``gradient_check``, or a negative number of ``stored_calls``.
    """

    settings: Settings
    jacobian: JacobianSchedule = field(default_factory=JacobianSchedule)
    procedure: Procedure | None = None
    gradient_check: str = choice(
        CHECK_PATCHED,
        CHECKS,
        help="Compares the gradient of one model call with the model's slope before the run, for about the time of 7 forward passes, once "
        "for each model until ComfyUI restarts: where another pack's code or kernel is on the model, always, or never.",
    )
    frames: Frames = field(default_factory=Frames)
    stored_calls: int | None = None
    plot_images: int = count(5, at_least=0, at_most=12, help="Images along the way that the plot shows, with those returned; 0 for none.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stored_calls is not None and self.stored_calls < 0:
            raise ValueError(f"stored_calls is {self.stored_calls}; it has to be a whole number, at least 0, or None for automatic.")

    def with_iterations(self, iterations: int) -> Preset:
        """The same with another number of iterations; with 0 it samples plainly, without a search."""
        changes: dict[str, Any] = {"iterations": iterations} if iterations else {"iterations": 0, "best_of": 1}
        return replace(self, settings=replace(self.settings, **changes))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, the loop's settings at the top; a solver also has its ``"name"``."""
        plain = {**self.settings.to_dict(), "jacobian": asdict(self.jacobian), "procedure": None, "gradient_check": self.gradient_check}
        plain |= {"frames": asdict(self.frames), "stored_calls": self.stored_calls, "plot_images": self.plot_images}
        if self.procedure is not None:
            plain["procedure"] = asdict(self.procedure)
            plain["procedure"]["solver"]["name"] = type(self.procedure.solver).__name__
        return plain


# DOODL as released (github.com/salesforce/DOODL, doodl.py): 50 updates, momentum, clipping, perturbation, the initial norm, no choice among
# iterates; EDICT, 50 steps, CFG 7.5, the minimum over 16 cutouts. Held against an independent transcription of it in
# tests/latent_optimization/reversible/test_procedure.py.
DOODL = Preset(Settings(iterations=50, rule=DOODLUpdate(), renormalize="initial", returned="last"), procedure=Procedure())

# The SGOOL paper (arXiv 2410.10257) builds on DOODL and leaves step, iterations, cutouts and the choice of iterate open: this project
# takes DOODL's for all of them. What sets the two apart is the objective, where SGOOL adds the salient term: the image times the map.
SGOOL = replace(DOODL, procedure=Procedure(region="multiply"))

# ReNO as released (github.com/ExplainableML/ReNO, arguments.py and training/trainer.py): SGD with Nesterov momentum, clipped gradients, the
# norm regularizer of weight .01, the best of 50 images by the rewards alone. Meant for one to four steps and for its four rewards together.
# Held against an independent transcription in tests/latent_optimization/test_reno.py. One image more is made here, of the last update.
RENO = Preset(Settings(iterations=50, rule=SGDUpdate(), renormalize="none", regularizer=NormLikelihood(weight=0.01), returned="best"))

# By what was measured on the demo model (docs/does-it-work.md): a few small steps, since large ones fool the reward;
# of the iterates the best when rescored. Meant for an objective with augmentations, and for noise that is not to be replaced.
BALANCED = Preset(Settings(iterations=10, renormalize="initial", returned="rescored"))

# Behind a search: the noise decides what stands where, which gradients cannot change; they repair colors and shapes. With a trust region,
# since a quarter of the plain rule's steps raise the loss (docs/experiments.md); without momentum, which a step taken back clears anyway.
SEARCH_FIRST = Preset(
    replace(
        BALANCED.settings,
        best_of=16,
        iterations=5,
        rule=NormalizedGradient(step_size=0.03, momentum=0.0),
        trust_region=TrustRegion(),
    )
)

PRESETS: dict[str, Preset] = {"search first": SEARCH_FIRST, "balanced": BALANCED, "SGOOL": SGOOL, "DOODL": DOODL, "ReNO": RENO}
DEFAULT_PRESET = "search first"


def preset(name: str) -> Preset:
    """The preset of that name. Raises ``ValueError`` with the names there are, if there is none."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}. Presets: {', '.join(PRESETS)}.")
    return PRESETS[name]
