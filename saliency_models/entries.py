"""What the registry knows of a predictor: each predictor's file has an ``ENTRIES`` list of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from .interface import Kind, SaliencyModel


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
        license: of the method's implementation here and, where it has weights, see ``weights.license``.
        build: ``build(**options) -> SaliencyModel`` without weights; ``build(weights, operations=torch.nn, **options)`` with:
            ``weights`` is a state dict (or, for models of the transformers library, the path of their folder) and
            ``operations`` a namespace with ``Linear``, ``Conv2d``... (``comfy.ops.manual_cast`` under ComfyUI).
        weights: where its weights are; None for a predictor that needs none.
        recognizes: ``recognizes(state) -> bool`` from a state dict's keys (and shapes); None for one without a weights file.
    """

    name: str
    kind: Kind
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
