"""Which of a sampler's model calls keep their activations instead of computing them again: as many of the last as there is memory for.

A call that is stored costs backward no second forward, and gives the same gradient. How much one keeps is counted at the first call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .kept_outputs import worth_keeping


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

    Where not all fit, their dearest outputs come first (see kept_outputs.py), which save more time for what they hold than whole calls do;
    what is left is for calls.

    Args:
        wanted: how many; ``None``: as many as there is room for.
        room: bytes that activations may take in all, asked once a run; only for ``None`` and for outputs.
        outputs: keep outputs beside a number that is given as well.

    Attributes:
        number: of the last calls, how many are stored.
        with_outputs: of the last calls, how many keep at least some outputs.
        least: from how many multiplications a byte on they are kept.
    """

    def __init__(self, wanted: int | None, room: Callable[[], float], *, outputs: bool = False) -> None:
        self._limit, self._room = wanted, room
        self._automatic = wanted is None
        self._outputs_allowed = self._automatic or outputs
        self.begin()

    @property
    def counts_calls_first(self) -> bool:
        """Whether the number of calls has to be known before the first run."""
        return not self._automatic and (self._limit != 0 or self._outputs_allowed)

    @property
    def keeps_anything(self) -> bool:
        """Whether this run keeps more than what each call is made of again."""
        return self.number > 0 or self.with_outputs > 0

    def begin(self) -> None:
        """A run begins."""
        self.number = self.with_outputs = 0
        self.least = 0.0
        self._decided = False

    def decide(self, of_a_call: tuple[int | None, Mapping[float, int]], left: int) -> None:
        """Decide for this run, unless that is done or nothing is known.

        Args:
            of_a_call: what a call keeps, if that is known, and its outputs.
            left: calls with gradient that are still to come.
        """
        call, outputs = of_a_call
        by_room = self._automatic or self._outputs_allowed
        if self._decided or left <= 0 or (call is None and by_room):
            return
        self._decided = True
        limit = left if self._limit is None else min(left, self._limit)
        if by_room and call is not None:
            worth = worth_keeping(outputs, call) if self._outputs_allowed else []
            self._fill(max(0.0, self._room()), max(1, call), worth, left, limit)
        if not self._automatic:
            self.number = limit

    def _fill(self, room: float, call: int, worth: list[tuple[float, int]], left: int, limit: int) -> None:
        if limit == left and room >= left * call:
            self.number = left
            return
        room -= call  # one call that is not stored is computed again meanwhile
        fitting = [each for each in worth if left * each[1] <= room] or worth[:1]  # if not all calls', the dearest of some
        size = 0
        if fitting and room > 0:
            self.least, size = fitting[-1]
            self.with_outputs = int(min(left, room // size))
        room -= self.with_outputs * size
        self.number = int(max(0, min(limit, room // (call - size))))

    def stores(self, left: int) -> bool:
        """Whether the next call is stored; ``left`` as in :meth:`decide`."""
        return 0 < left <= self.number

    def keeps_outputs(self, left: int) -> float | None:
        """From how many multiplications a byte on the next call keeps its outputs, if it is not stored; ``None``: it keeps none."""
        return self.least if 0 < left <= self.with_outputs else None

    def less(self) -> bool:
        """Memory did not suffice: at most half as many from now on. Returns whether there was anything to do without."""
        if not self.keeps_anything:
            self.none()
            return False
        self._limit = self.number = self.number // 2
        self._outputs_allowed = self._outputs_allowed and self.number > 0
        self.with_outputs = 0
        return True

    def none(self) -> None:
        """Keep nothing more."""
        self._limit, self._automatic, self._outputs_allowed = 0, False, False
        self.number = self.with_outputs = 0
