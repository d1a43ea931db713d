"""Update rules by name. Each file of this folder holds one: a frozen dataclass, and its name as ``NAME``. A new rule is a new file."""

from __future__ import annotations

from ...schema.registered import registered
from .interface import UpdateRule

UPDATE_RULES: dict[str, type[UpdateRule]] = registered(__path__, __package__)
