"""What autograd saves for backward, kept as it was when it was saved, also where the code writes into it afterwards.

Networks write in place (``h += ...``, ``x.addcmul_(...)``) into tensors that an earlier operation has saved. Written for inference, that
costs nothing; backward then reads what was overwritten. Autograd notices by a tensor's version counter, but not where hooks stand between
(``torch.utils.checkpoint`` skips the comparison). So here every saved tensor's version is noted, compared at the end of the call, and the
call made once more with copies of just the tensors that changed. Which these were is remembered for the model: from the second call on
nothing is made twice, and nothing else is copied.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from .autograd_mode import GradientMode
from .cast_weights import Cast
from .random_state import RandomState

ATTEMPTS = 4
CHANGED_LATER = (
    "Backward needs a tensor of shape {} that was written to after the model call that saved it: the model keeps memory between calls and "
    "reuses it. Let the calls be recomputed instead of stored, or leave out the node that caches."
)
SEVERAL_VIEWS = "function that returns multiple views"
_EMPTY: dict[tuple[torch.dtype, torch.device], Tensor] = {}


def detached(tensor: Tensor) -> Tensor:
    """``tensor.detach()``, whatever mode is on: one that keeps history would hand ``tensor`` itself back."""
    with torch._C.DisableTorchFunction():
        return tensor.detach()


def version_of(tensor: Tensor) -> tuple[Tensor, int]:
    """A handle on ``tensor``'s version counter that holds none of its memory, and the counter's value now."""
    version = tensor._version
    if type(tensor) is not Tensor or tensor.layout != torch.strided:
        return tensor, version
    handle = detached(tensor)  # shares the counter
    key = (tensor.dtype, tensor.device)
    if key not in _EMPTY:
        _EMPTY[key] = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    handle.data = _EMPTY[key]  # other memory, the same counter
    return handle, version


@dataclass
class Learned:
    """What calls of one model have shown about it. Only a saving: each call is checked, whatever stands here.

    Attributes:
        copied: by kind of call, the numbers of the saved tensors that are written to later on in it.
        kept_bytes: by kind of call, what autograd keeps of one, the most that was seen.
        outputs: by kind of call, the bytes of its outputs by what they cost, see :class:`~.kept_outputs.KeptOutputs`; the most there were.
        single_views: whether it writes into pieces of a tensor that were made together (``chunk``, ``unbind``).
    """

    copied: dict[Hashable, frozenset[int]] = field(default_factory=dict)
    kept_bytes: dict[Hashable, int] = field(default_factory=dict)
    outputs: dict[Hashable, dict[float, int]] = field(default_factory=dict)
    single_views: bool = False

    def of_a_call(self, kind: Hashable) -> tuple[int | None, Mapping[float, int]]:
        """What a call of that kind keeps, if one was seen, and its outputs."""
        return self.kept_bytes.get(kind), self.outputs.get(kind, {})


_learned: weakref.WeakKeyDictionary[Any, Learned] = weakref.WeakKeyDictionary()


def learned_of(model: Any) -> Learned:
    """What is known of ``model`` (a guider's inner model, where it has one), kept for as long as that lives."""
    inner = getattr(model, "inner_model", None)
    key = model if inner is None else inner
    try:
        return _learned.setdefault(key, Learned())
    except TypeError:  # an object that takes no weak references
        return Learned()


class WrittenLater(RuntimeError):
    """What backward needs was written to after the call that saved it."""


class _Recorded:
    """The saved tensors of one attempt at a call."""

    def __init__(self, copied: frozenset[int], copy_all: bool) -> None:
        self.copied = copied
        self.copy_all = copy_all
        self.count = 0
        self.open: list[tuple[int, Tensor, int]] = []

    def keep(self, tensor: Tensor) -> tuple[Tensor | Cast, int]:
        index, self.count = self.count, self.count + 1
        if self.copy_all or index in self.copied:
            return tensor.clone(), -1
        cast = GradientMode.cast_of(tensor)
        if cast is not None:
            self.open.append((index, *version_of(tensor)))
            return cast, -1
        kept, version = detached(tensor), tensor._version
        self.open.append((index, kept, version))
        return kept, version

    def changed(self) -> frozenset[int]:
        return frozenset(index for index, tensor, version in self.open if tensor._version != version)


def _unpack(kept: tuple[Tensor | Cast, int]) -> Tensor:
    tensor, version = kept
    if isinstance(tensor, Cast):
        return tensor.again()
    if version >= 0 and tensor._version != version:
        raise WrittenLater(CHANGED_LATER.format(tuple(tensor.shape)))
    return tensor


def store_activations(call: Callable[[], Any], learned: Learned, kind: Hashable) -> Any:
    """Make ``call()`` with autograd on and its activations stored, such that backward is right whatever the call writes to.

    Args:
        call: has to do the same each time, also to its arguments: it may be made again, at the first call of a kind.
        learned: what is known of the model, brought up to date.
        kind: what tells calls apart that save different tensors, such as the shape of the input.

    Returns:
        What ``call()`` returns, with history.
    """
    random = RandomState()
    for attempt in range(ATTEMPTS):
        key = (kind, learned.single_views)
        recorded = _Recorded(learned.copied.get(key, frozenset()), copy_all=attempt == ATTEMPTS - 1)
        if attempt:
            random.restore()
        with saved_tensors_hooks(recorded.keep, _unpack):
            result = call()
        changed = recorded.changed()
        recorded.open.clear()
        if not changed:
            return result
        learned.copied[key] = recorded.copied | changed
        del result
    raise AssertionError("with everything copied, nothing changes")


def with_views_that_can_be_written(call: Callable[[], Any], learned: Learned) -> Any:
    """``call()``, made again where it turns out to write into pieces of a tensor one by one; it has to look at ``single_views`` itself."""
    random = RandomState()
    try:
        return call()
    except RuntimeError as error:
        if learned.single_views or SEVERAL_VIEWS not in str(error):
            raise
    learned.single_views = True
    random.restore()
    return call()
