"""Weights that a layer turns into another number format for its product: autograd keeps the weight, not the copy.

Networks with float8 weights compute in bfloat16: each layer makes a copy of its weight, and backward wants it. Kept, the copies take twice
the weights' memory in each call. Made again in backward they take none, and cost one pass over the weight beside a product with it.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cast:
    """Stands for a saved tensor that is ``weight`` in another number format, or a view of that."""

    weight: Tensor
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    def again(self) -> Tensor:
        """The tensor, made anew."""
        with torch.no_grad(), torch._C.DisableTorchFunction():
            return self.weight.to(self.dtype).as_strided(self.size, self.stride, self.offset)


class CastWeights:
    """The copies of weights that live, by their memory. One that was written to since is the code's own, and none any more."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], int, Tensor]] = {}

    def note(self, weight: Tensor, cast: Tensor) -> None:
        """``cast`` has just been made of ``weight``, an ordinary tensor that nobody writes to before backward."""
        # What was moved to another device is no copy that can be made again there: the weight may stay elsewhere.
        alike = cast.is_contiguous() and weight.is_contiguous() and cast.device == weight.device
        if alike and type(cast) is Tensor and cast.dtype != weight.dtype and not cast.requires_grad:
            self._known[_memory_of(cast)] = (weakref.ref(cast), cast._version, weight)

    def of(self, tensor: Tensor) -> Cast | None:
        """What stands for ``tensor``, which autograd is about to save; ``None`` where it has to be kept itself."""
        if not self._known:
            return None
        memory = _memory_of(tensor)
        made, version, weight = self._known.get(memory, (None, 0, tensor))
        cast = None if made is None else made()
        if cast is None or _memory_of(cast) != memory:  # gone, and its memory has become another's
            self._known.pop(memory, None)
            return None
        if cast._version != version or cast.dtype != tensor.dtype:
            return None
        return Cast(weight, tensor.dtype, tensor.size(), tensor.stride(), int(tensor.storage_offset()))


def _memory_of(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return int(tensor.untyped_storage()._cdata)  # also of the meta device, whose addresses are all 0
