"""The one list of saliency predictors: what there is, what a weights file is, and how to make either.

A new predictor is one new file in this folder with an ``ENTRIES`` list; nothing else changes.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..schema.weights import MismatchError, WeightsError, read_state_dict
from .entries import Entry
from .interface import KINDS, SaliencyModel


@functools.cache
def _entries() -> dict[str, Entry]:
    package = importlib.import_module(__package__ or "")
    found: dict[str, Entry] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        for entry in getattr(importlib.import_module(f".{module}", package.__name__), "ENTRIES", ()):
            if entry.name in found or entry.kind not in KINDS:
                raise ValueError(f"{module}.py registers {entry.name!r} a second time, or with the unknown kind {entry.kind!r}.")
            found[entry.name] = entry
    return found


def available() -> list[Entry]:
    """Return all predictors: those that need no download first, ``default`` at their head, then by name."""
    return sorted(_entries().values(), key=lambda entry: (entry.needs_weights, entry.name != "default", entry.name))


def find(name: str) -> Entry:
    """Return the entry called ``name``.

    Raises:
        ValueError: there is none; the sentence lists the names.
    """
    try:
        return _entries()[name]
    except KeyError:
        names = ", ".join(entry.name for entry in available())
        raise ValueError(f"There is no saliency predictor called {name!r}. Choose one of: {names}.") from None


def recognize(state: Mapping[str, Tensor]) -> Entry | None:
    """Return the entry whose weights have the keys (and shapes) of ``state``, or None."""
    for entry in available():
        if entry.recognizes is not None and entry.recognizes(state):
            return entry
    return None


def load(name: str, weights: str | Path | Mapping[str, Tensor] | None = None, **options: Any) -> SaliencyModel:
    """Make the predictor called ``name``.

    Args:
        name: as in ``available()``.
        weights: the path of its weights (a file, or a folder for transformers models), or a state dict; None for predictors without.
        options: of the predictor, see its class; for learned ones also ``operations``.

    Returns:
        The predictor, in evaluation mode, its parameters not requiring gradients.

    Raises:
        ValueError: unknown name, weights missing or given to a predictor without any, a file that is not this predictor's.
        TypeError: an option that this predictor does not have.
    """
    entry = find(name)
    if entry.weights is None:
        if weights is not None:
            raise ValueError(f"The saliency predictor {name!r} computes without weights; leave the weights out.")
        model = entry.build(**options)
    elif weights is None:
        raise ValueError(
            f"The saliency predictor {name!r} needs its weights ({entry.weights.size}, {entry.weights.license}): get them from "
            f"{entry.weights.where} and put them into ComfyUI's models/saliency folder as {entry.weights.filename}."
        )
    else:
        model = _build(entry, weights if isinstance(weights, Mapping) or entry.folder else read_state_dict(weights), options)
    return model.eval().requires_grad_(False)


def _build(entry: Entry, weights: str | Path | Mapping[str, Tensor], options: Mapping[str, Any]) -> SaliencyModel:
    try:
        return entry.build(weights, **options)
    except MismatchError as error:
        other = recognize(weights) if isinstance(weights, Mapping) else None
        if other is not None and other.name != entry.name:
            advice = f"They are those of {other.name!r}: choose that predictor, or the file that belongs to {entry.name!r}."
        else:
            advice = "Check that the file is the one this predictor's help names, and that its download is complete."
        raise WeightsError(f"{error} {advice}") from error
