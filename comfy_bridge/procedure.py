"""A published procedure in ComfyUI's terms: its solver as a SAMPLER, its cutouts in an objective, and sentences that say so."""

from __future__ import annotations

from typing import Any

import comfy.samplers

from ..guidance.augmentations import Augmentations
from ..guidance.objective import Objective
from ..latent_optimization.presets import Procedure
from ..latent_optimization.reversible import EDICT, SOLVERS
from .reversible_samplers import ReversibleSampler


def sampler_for(procedure: Procedure) -> ReversibleSampler:
    """The SAMPLER of a procedure, its states in float64 where the device has it."""
    return ReversibleSampler(procedure.solver)


def objective_for(procedure: Procedure, objective: Objective) -> tuple[Objective, list[str]]:
    """The objective scored on the procedure's cutouts, as a copy, and what there is to say about that."""
    cutouts = Augmentations("cutouts", procedure.cutouts, procedure.cut_power)
    changed = objective.augmented(cutouts, procedure.reduce, procedure.region)
    if changed is objective:
        return objective, []
    sentence = f"By the preset, {procedure.cutouts} random cutouts were scored and their {procedure.reduce} taken, in the place of the "
    sentence += "objective's own augmentations"
    return changed, [sentence + ("." if procedure.region is None else f"; a salient part was shown by {procedure.region!r}.")]


def replacement(procedure: Procedure, sampler_name: str, steps: int, cfg: float) -> str:
    """The sentence for widgets that a procedure replaces."""
    return (
        f"By the preset, the image was sampled with {_published(procedure)}, in the place of {sampler_name}, {steps} steps, CFG {cfg:g}. "
        "To keep the widgets, connect SGOOL Settings with procedure 'none'."
    )


def difference(procedure: Procedure, sampler: comfy.samplers.Sampler, steps: int, guider: Any) -> str | None:
    """The sentence for a run that differs from a procedure in solver, steps or guidance scale, or ``None``."""
    # Other guiders have scales of their own, or several.
    cfg = guider.cfg if type(guider) is comfy.samplers.CFGGuider else None
    solver = getattr(sampler, "solver", None)
    if solver == procedure.solver and steps == procedure.steps and cfg in (procedure.cfg, None):
        return None
    ran = f"{sampler_name(sampler)}, {steps} steps" + ("" if cfg is None else f", CFG {cfg:g}")
    sentence = f"This preset was published with {_published(procedure)}; this run had {ran}, which other nodes set."
    if procedure.solver.coupled and not getattr(sampler, "coupled", False):
        sentence += (
            " Both latents of EDICT's pair are judged; this sampler has one, which is judged alone (SGOOL Reversible Sampler has both)."
        )
    return sentence


def sampler_name(sampler: comfy.samplers.Sampler) -> str:
    """A name that people know a SAMPLER by, as far as it tells."""
    solver = getattr(sampler, "solver", None)
    if solver is not None:
        name = next((name for name, kind in SOLVERS.items() if type(solver) is kind), type(solver).__name__)
        return f"{name} (mix {solver.mix:g})" if isinstance(solver, EDICT) else name
    function = getattr(getattr(sampler, "sampler_function", None), "__name__", type(sampler).__name__)
    return function.removeprefix("sample_").removesuffix("_function")


def _published(procedure: Procedure) -> str:
    return f"{sampler_name(sampler_for(procedure))}, {procedure.steps} steps, CFG {procedure.cfg:g}"
