"""The one list of saliency predictors: what there is, what a weights file is, and how to make either.

A new predictor is one new file in this folder with an ``ENTRIES`` list; nothing else changes.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .interface import KINDS, Kind, SaliencyModel


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded when the user asks for it.

    Attributes:
        name: the file is stored under.
        url: its address, of a fixed revision.
        bytes: its size, where known.
        sha256: of its content, where published.
        git_blob: its Git object id, where that is what its host publishes.
    """

    name: str
    url: str
    bytes: int | None = None
    sha256: str | None = None
    git_blob: str | None = None


@dataclass(frozen=True)
class Weights:
    """Where the weights of a learned predictor are.

    Attributes:
        where: for a person: the page, repository or drive that has them.
        size: for a person, as "290 MB, 72.5 M parameters".
        license: of the weights.
        filename: the name the file is stored under in ``models/saliency``, or the folder's for a transformers model.
        remote: what to download; none where only a person can (a drive that asks for a confirmation). One file, stored as ``filename``,
            or all files of the folder called so.
        folder: whether ``filename`` is a folder.
    """

    where: str
    size: str
    license: str
    filename: str
    remote: tuple[RemoteFile, ...] = ()
    folder: bool = False

    @property
    def url(self) -> str | None:
        """Address of the weights themselves; None where they cannot be downloaded from here."""
        return self.remote[0].url if self.remote else None

    @property
    def bytes(self) -> int | None:
        """Size of all files to download, where known."""
        sizes = [file.bytes for file in self.remote if file.bytes is not None]
        return sum(sizes) if sizes and len(sizes) == len(self.remote) else None


@dataclass(frozen=True)
class Entry:
    """One predictor of the registry.

    Attributes:
        name: what users choose and what workflows store; never changes.
        kind: what its maps mean.
        description: one or two sentences for a person choosing.
        license: of the method's implementation here and, where it has weights, see ``weights.license``.
        build: ``build(**options) -> SaliencyModel`` without weights; ``build(weights, operations=torch.nn, **options)`` with:
            ``weights`` is a state dict (or, for models of the transformers library, the path of their folder) and
            ``operations`` a namespace with ``Linear``, ``Conv2d``... (``comfy.ops.manual_cast`` under ComfyUI).
        weights: where its weights are; None for a predictor that needs none.
        recognizes: ``recognizes(state) -> bool`` from a state dict's keys (and shapes); None for one without a weights file.
    """

    name: str
    kind: Kind
    description: str
    license: str
    build: Callable[..., SaliencyModel]
    weights: Weights | None = None
    recognizes: Callable[[Mapping[str, Tensor]], bool] | None = None

    @property
    def needs_weights(self) -> bool:
        """Whether something must be downloaded before it works."""
        return self.weights is not None

    @property
    def folder(self) -> bool:
        """Whether its weights are a folder (of the transformers library), not a file."""
        return self.weights is not None and self.weights.folder


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
        model = entry.build(weights if isinstance(weights, Mapping) else _read(entry, Path(weights)), **options)
    return model.eval().requires_grad_(False)


def _read(entry: Entry, path: Path) -> Path | Mapping[str, Tensor]:
    if entry.folder:
        return path
    from .weights import read_state_dict

    return read_state_dict(path)
