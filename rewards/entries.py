"""One line of the list of rewards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .interface import Reward


@dataclass(frozen=True)
class Entry:
    """A kind of reward, as its file registers it.

    Attributes:
        summary: what it judges, a line.
        where: the page of its published weights.
        license: of those weights.
        files: what a user puts into ``models/rewards``.
        recognizes: whether a file or folder there is one of this kind, from names and headers alone; nothing is loaded.
        load: ``load(path, dtype)`` makes it, on the CPU, frozen, with weights of the dtype. Besides what a :class:`Reward` has, it has
            ``model``, the module that is moved to the device, and ``vision_shape``, its image tower's ``num_hidden_layers``,
            ``hidden_size``, ``image_size`` and ``patch_size``, by which memory is reckoned. Raises ``ValueError`` with a sentence for a
            file that is not whole.
        tokenizer: ``"clip"`` where the files bring none: ``load`` is then given a folder with it, ``tokenizer=folder``.
    """

    summary: str
    where: str
    license: str
    files: str
    recognizes: Callable[[Path], bool]
    load: Callable[..., Reward]
    tokenizer: str = ""
