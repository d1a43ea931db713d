"""Which of a sampler's model calls keep their activations instead of computing them again: as many of the last as there is memory for.

A call that is stored costs backward no second forward, and gives the same gradient. How much one keeps is counted at the first call.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


class KeptBytes:
    """Counts what autograd would keep of a call that is being checkpointed: each memory once.

    What still lives when the call has ended (weights, conditioning) is not the call's: it is left out.
    """

    def __init__(self) -> None:
        self._memories: dict[int, tuple[StorageWeakRef, int]] = {}

    def add(self, tensor: Tensor) -> None:
        """``tensor`` was saved for backward. Quantized tensors and other subclasses are taken for weights."""
        if type(tensor) is not Tensor or tensor.layout != torch.strided:
            return
        with torch._C.DisableTorchFunction():
            storage = tensor.untyped_storage()
            reference = StorageWeakRef(storage)  # holds no memory, but keeps the number from being given to another
            self._memories[reference.cdata] = (reference, storage.nbytes())

    def total(self) -> int:
        """Bytes, once the call has ended."""
        return sum(size for reference, size in self._memories.values() if reference.expired())


class StoredCalls:
    """How many of a run's last calls with gradient are stored, decided anew in each run.

    Args:
        wanted: how many; ``None``: as many as there is room for.
        room: bytes that activations may take in all, asked once a run; only for ``None``.
    """

    def __init__(self, wanted: int | None, room: Callable[[], float]) -> None:
        self._limit, self._room = wanted, room
        self._automatic = wanted is None
        self.begin()

    @property
    def counts_calls_first(self) -> bool:
        """Whether the number of calls has to be known before the first run."""
        return not self._automatic and self._limit != 0

    def begin(self) -> None:
        """A run begins."""
        self.number = 0
        self._decided = False

    def stores(self, bytes_of_a_call: int | None, left: int) -> bool:
        """Whether the next call is stored: ``left`` calls with gradient are still to come, this one included, as far as is known."""
        if not self._decided and left > 0 and (bytes_of_a_call is not None or not self._automatic):
            self._decided = True
            self.number = min(left, self._fitting(bytes_of_a_call, left))
        return 0 < left <= self.number

    def _fitting(self, size: int | None, left: int) -> int:
        if not self._automatic or size is None:
            return self._limit or 0
        fitting = int(max(0.0, self._room()) // max(1, size))
        fitting = fitting if fitting >= left else max(0, fitting - 1)  # one call that is not stored is computed again meanwhile
        return fitting if self._limit is None else min(fitting, self._limit)

    def less(self) -> bool:
        """Memory did not suffice: at most half as many from now on. Returns whether there was anything to do without."""
        if self.number == 0:
            self._limit, self._automatic = 0, False
            return False
        self._limit = self.number = self.number // 2
        return True

    def none(self) -> None:
        """Store no more."""
        self._limit, self._automatic, self.number = 0, False, 0
