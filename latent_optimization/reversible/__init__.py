"""Samplers that can be run backwards: EDICT, BDIA, O-BELM and McCallum-Foster (Rex), their inverses, and gradients in constant memory."""

from __future__ import annotations

from .bdia import BDIA
from .chain import invert, run
from .edict import EDICT
from .o_belm import OBELM
from .plan import Pair, Plan, Slope, Solver, Update
from .rex import McCallumFoster

__all__ = ["BDIA", "EDICT", "OBELM", "SOLVERS", "McCallumFoster", "Pair", "Plan", "Slope", "Solver", "Update", "invert", "run"]

SOLVERS: dict[str, type[Solver]] = {"EDICT": EDICT, "BDIA": BDIA, "O-BELM": OBELM, "McCallum-Foster": McCallumFoster}
