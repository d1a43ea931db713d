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

    Where not all fit, the outputs of attention come first (see attention_outputs.py), which save more time for what they hold than whole
    calls do; what is left is for calls.

    Args:
        wanted: how many; ``None``: as many as there is room for.
        room: bytes that activations may take in all, asked once a run; only for ``None``.
        attention: keep every call's outputs of attention beside a number that is given. Without a number, room decides.

    Attributes:
        number: of the last calls, how many are stored.
        with_attention: of the last calls, how many keep at least the outputs of their attention.
    """

    def __init__(self, wanted: int | None, room: Callable[[], float], *, attention: bool = False) -> None:
        self._limit, self._room = wanted, room
        self._automatic = wanted is None
        self._attention_allowed = self._automatic or attention
        self.begin()

    @property
    def counts_calls_first(self) -> bool:
        """Whether the number of calls has to be known before the first run."""
        return not self._automatic and (self._limit != 0 or self._attention_allowed)

    @property
    def keeps_anything(self) -> bool:
        """Whether this run keeps more than what each call is made of again."""
        return self.number > 0 or self.with_attention > 0

    def begin(self) -> None:
        """A run begins."""
        self.number = self.with_attention = 0
        self._decided = False

    def decide(self, bytes_of_a_call: int | None, bytes_of_attention: int, left: int) -> None:
        """Decide for this run, unless that is done or nothing is known: ``left`` calls with gradient are still to come."""
        if self._decided or left <= 0 or (bytes_of_a_call is None and self._automatic):
            return
        self._decided = True
        if not self._automatic or bytes_of_a_call is None:
            self.number = min(left, self._limit or 0)
            self.with_attention = left if self._attention_allowed else 0
            return
        limit = left if self._limit is None else min(left, self._limit)
        self._fill(max(0.0, self._room()), max(1, bytes_of_a_call), bytes_of_attention if self._attention_allowed else 0, left, limit)

    def _fill(self, room: float, call: int, attention: int, left: int, limit: int) -> None:
        if limit == left and room >= left * call:
            self.number = left
            return
        room -= call  # one call that is not stored is computed again meanwhile
        attention = attention if 2 * attention < call else 0
        if attention and room > 0:
            self.with_attention = int(min(left, room // attention))
        room -= self.with_attention * attention
        self.number = int(max(0, min(limit, room // (call - attention))))

    def stores(self, left: int) -> bool:
        """Whether the next call is stored; ``left`` as in :meth:`decide`."""
        return 0 < left <= self.number

    def keeps_attention(self, left: int) -> bool:
        """Whether the next call keeps the outputs of its attention, if it is not stored."""
        return 0 < left <= self.with_attention

    def less(self) -> bool:
        """Memory did not suffice: at most half as many from now on. Returns whether there was anything to do without."""
        if not self.keeps_anything:
            self.none()
            return False
        self._limit = self.number = self.number // 2
        self._attention_allowed = self._attention_allowed and self.number > 0
        self.with_attention = 0
        return True

    def none(self) -> None:
        """Keep nothing more."""
        self._limit, self._automatic, self._attention_allowed = 0, False, False
        self.number = self.with_attention = 0
