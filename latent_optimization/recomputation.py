"""Recompute a call's activations in backward instead of keeping them.

What ``torch.utils.checkpoint(use_reentrant=False)`` does (the same method: saved tensors are replaced by numbers, and found again by
running the call again), for code that was never meant to be differentiated:

- Tensors that the call writes to after autograd has saved them are seen by their version counters and copied in the recomputation; the
  counters alone are kept until the call ends, none of the memory (see ``saved_tensors.py``).
- A call may write into its own arguments: it is recomputed on copies of them, views of each other where they were.
- Containers among the arguments (a decoder's list of cached frames, options that hold the number of the block) are handed to the
  recomputation as they were when the call began.
- A recomputation whose activations are others than the call's is refused, not differentiated: a sample of the last one is compared.

Calls may be nested: inside a recomputation, an inner call is recomputed once more when backward gets there.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import register_multi_grad_hook, saved_tensors_hooks

from .autograd_mode import GradientMode
from .cast_weights import Cast
from .nested import map_others, map_tensors
from .random_state import RandomState, same_random_numbers
from .saved_tensors import ATTEMPTS, detached, version_of

DIFFERS = (
    "A model call did something else when backward ran it again ({}). It depends on something that changed in between: random numbers of "
    "its own, state that a node or the model keeps between calls, or weights that were moved. Leave out the node that patches the model "
    "this way."
)


SAMPLED = 256
"""Elements of a call's last saved activation that are kept, to be compared with those of its recomputation."""

TOLERANCE = 0.1
"""More than that, relative to their size, is no rounding of kernels that add up in another order each time."""


class _Stop(BaseException):
    """Ends a recomputation once everything is there. No ``Exception``, so that no fallback in a model's code catches it."""


class _Place:
    """Stands in the graph for a saved tensor."""

    __slots__ = ("__weakref__",)


class _Slot:
    """Stands in arguments for a tensor."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class _SaveInputs(torch.autograd.Function):
    """Saves tensors for backward and does nothing else: hooks around a nested call thereby govern what is kept of its arguments."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return anchor.new_empty(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise AssertionError("nothing depends on this")


class _Arguments:
    """A call's arguments, to be had again as they were."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], seen_as: Callable[[Tensor], Tensor] | None, copied: bool) -> None:
        self.tensors: list[Tensor] = []
        self._seen_as = seen_as
        self._layout = map_tensors((args, kwargs), self._slot)
        self._versions = [version_of(tensor) for tensor in self.tensors]
        self._places = [(_memory(t), t.size(), t.stride(), t.storage_offset(), t.requires_grad) for t in self.tensors]
        anchor = torch.empty(0, requires_grad=True)
        self._saver = _SaveInputs.apply(anchor, *(tensor.clone() if copied else tensor for tensor in self.tensors))
        self.tensors = []
        self.written: set[int] = set()

    def _slot(self, tensor: Tensor) -> Any:
        if type(tensor) is not Tensor or (tensor.is_inference() and self._seen_as is None):
            return tensor
        if tensor.is_inference() and self._seen_as is not None:
            tensor = self._seen_as(tensor)
        self.tensors.append(tensor)
        return _Slot(len(self.tensors) - 1)

    def close(self) -> None:
        """The call has ended: note which arguments it has written to, and those that share their memory."""
        written = {index for index, (handle, version) in enumerate(self._versions) if handle._version != version}
        memories = {self._places[index][0] for index in written}
        self.written = {index for index, place in enumerate(self._places) if place[0] in memories}
        self._versions = []

    def again(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments for a recomputation, which may write to them."""
        tensors = list(self._saver.grad_fn.saved_tensors)
        for memory in {self._places[index][0] for index in self.written}:
            self._copy(tensors, [index for index in sorted(self.written) if self._places[index][0] == memory])
        return map_others(self._layout, lambda leaf: tensors[leaf.index] if isinstance(leaf, _Slot) else leaf)

    def _copy(self, tensors: list[Tensor], indices: list[int]) -> None:
        """Replace tensors that shared memory by copies that share memory."""
        if len(indices) == 1:
            tensors[indices[0]] = tensors[indices[0]].clone()
            return
        places = [self._places[index] for index in indices]
        start = min(offset for _, _, _, offset, _ in places)
        end = max(offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1 for _, size, stride, offset, _ in places)
        first = tensors[indices[0]]
        flat = torch.zeros(end - start, dtype=first.dtype, device=first.device)
        for index, (_, size, stride, offset, _) in zip(indices, places, strict=True):
            flat.as_strided(size, stride, offset - start).copy_(tensors[index].detach())
        with torch.enable_grad():
            some_with_grad = any(with_grad for *_, with_grad in places)
            base = flat.requires_grad_(some_with_grad).clone()
            for index, (_, size, stride, offset, with_grad) in zip(indices, places, strict=True):
                view = base.as_strided(size, stride, offset - start)
                tensors[index] = view if with_grad or not some_with_grad else view.detach()


def sample_of(tensor: Tensor) -> Tensor:
    """Some of a tensor's elements, in float32, from everywhere in it."""
    with torch.no_grad(), torch._C.DisableTorchFunction():
        places = torch.linspace(0, tensor.numel() - 1, min(tensor.numel(), SAMPLED), dtype=torch.float64).long()
        return torch.take(tensor.detach(), places.to(tensor.device)).float()


def _compare(before: Tensor, now: Tensor) -> None:
    difference = float((now - before).norm() / before.norm().clamp_min(1e-12))
    if difference > TOLERANCE:
        raise RuntimeError(DIFFERS.format(f"its activations are others, by {100 * difference:.0f} %"))


def _memory(tensor: Tensor) -> tuple[int, torch.dtype]:
    return tensor.untyped_storage().data_ptr(), tensor.dtype


class _Frame:
    """One call: what it saves, as numbers, and how to get it back."""

    def __init__(self, function: Callable[..., Any], arguments: _Arguments, saved: Callable[[Tensor], None] | None = None) -> None:
        self.function = function
        self.told = saved
        self.arguments = arguments
        self.random = RandomState()
        self.autocast = _autocast_state()
        self.places: list[weakref.ref[_Place]] = []
        self.kinds: list[tuple[torch.Size, torch.dtype]] = []
        self.versions: list[tuple[Tensor, int]] = []
        self.copied: set[int] = set()
        self.closed = False
        self.last: tuple[int, Tensor, int] | None = None
        self.sample: tuple[int, Tensor] | None = None
        self.found: weakref.WeakKeyDictionary[_Place, Tensor | Cast] = weakref.WeakKeyDictionary()

    def save(self, tensor: Tensor) -> _Place:
        if self.told is not None and GradientMode.cast_of(tensor) is None:
            self.told(tensor)
        place = _Place()
        self.places.append(weakref.ref(place))
        self.kinds.append((tensor.shape, tensor.dtype))
        self.versions.append(version_of(tensor))
        if tensor.requires_grad and type(tensor) is Tensor and tensor.is_floating_point() and tensor.numel():
            with torch._C.DisableTorchFunction():  # no weight, and later than all that it was made of
                self.last = (len(self.places) - 1, tensor.detach(), tensor._version)
        return place

    def close(self) -> None:
        """The call has ended: keep of the versions only which have changed."""
        self.copied.update(index for index, (handle, version) in enumerate(self.versions) if handle._version != version)
        self.arguments.close()
        self.versions = []
        self.told = None
        if self.last is not None and self.last[1]._version == self.last[2]:
            self.sample = (self.last[0], sample_of(self.last[1]))
        self.last = None
        self.closed = True

    def load(self, place: _Place) -> Tensor:
        if place not in self.found:
            if not self.closed:
                raise RuntimeError(
                    "A node that patches the model takes a gradient of its own within a model call, which cannot be differentiated once "
                    "more. Leave out that node, or set iterations to 0."
                )
            self.recompute()
        found = self.found[place]
        return found.again() if isinstance(found, Cast) else found

    def recompute(self) -> None:
        for _ in range(ATTEMPTS):
            saved, complete = self._run()
            if not complete:
                raise RuntimeError(DIFFERS.format(f"it saved {len(saved)} tensors, not {len(self.places)}"))
            changed = {i for i, (_, seen, version) in enumerate(saved) if i not in self.copied and seen._version != version}
            if not changed:
                self._fill([kept for kept, *_ in saved])
                return
            self.copied |= changed
        raise RuntimeError(DIFFERS.format("it wrote to other tensors each time"))

    def _run(self) -> tuple[list[tuple[Tensor | Cast, Tensor, int]], bool]:
        """What is saved now, each with a tensor that tells by its version whether it is written to later, and that; whether it is all."""
        saved: list[tuple[Tensor | Cast, Tensor, int]] = []

        def keep(tensor: Tensor) -> None:
            index = len(saved)
            if index >= len(self.places):
                return
            if (tensor.shape, tensor.dtype) != self.kinds[index]:
                was, now = (f"{tuple(shape)} {dtype}" for shape, dtype in (self.kinds[index], (tensor.shape, tensor.dtype)))
                raise RuntimeError(DIFFERS.format(f"saved tensor number {index} was {was} and is now {now}"))
            if self.sample is not None and self.sample[0] == index:
                _compare(self.sample[1], sample_of(tensor))
            saved.append(self._kept(tensor, index in self.copied))
            if len(saved) == len(self.places):
                raise _Stop

        with same_random_numbers(), self.autocast(), torch.enable_grad():
            self.random.restore()
            args, kwargs = self.arguments.again()
            with contextlib.suppress(_Stop), saved_tensors_hooks(keep, lambda nothing: nothing):
                self.function(*args, **kwargs)
        return saved, len(saved) == len(self.places)

    @staticmethod
    def _kept(tensor: Tensor, copied: bool) -> tuple[Tensor | Cast, Tensor, int]:
        cast = None if copied else GradientMode.cast_of(tensor)
        if cast is not None:
            return (cast, *version_of(tensor))
        kept = tensor.clone() if copied else detached(tensor)
        return kept, kept, kept._version

    def _fill(self, tensors: list[Tensor | Cast]) -> None:
        for reference, tensor in zip(self.places, tensors, strict=True):
            place = reference()
            if place is not None:
                self.found[place] = tensor


def recompute_in_backward(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    again: Callable[..., Any] | None = None,
    seen_as: Callable[[Tensor], Tensor] | None = None,
    copy_arguments: bool = False,
    saved: Callable[[Tensor], None] | None = None,
) -> Any:
    """Call ``function(*args, **kwargs)`` with autograd on, keeping its arguments instead of its activations.

    Args:
        function: has to do the same each time, from the same arguments.
        args: lists, tuples and dicts of anything; tensors among them are kept by autograd and may have history.
        kwargs: as ``args``.
        again: what is run in backward, perhaps on another thread, where it may count on nothing that surrounds it; else ``function`` is.
        copy_arguments: keep copies of the tensors among the arguments, for those that are written to after the call (a cache that the
            next call goes on with).
        saved: told of each tensor that is saved while the function is called, nothing of which is kept.
        seen_as: what stands for an inference tensor among the arguments, which autograd can not keep; without it these are only held.

    Raises:
        RuntimeError: in backward, if the call saved other tensors than before. What is overwritten later on is no error but copied.
    """
    kwargs = kwargs or {}
    with torch.enable_grad():
        frame = _Frame(again or function, _Arguments(args, kwargs, seen_as, copy_arguments), saved)
        _free_at_the_end(frame, (args, kwargs))
        with saved_tensors_hooks(frame.save, frame.load):
            result = function(*args, **kwargs)
    frame.close()
    return result


def _free_at_the_end(frame: _Frame, arguments: Any) -> None:
    """Let go of what was recomputed when backward has the arguments' gradients, also where the graph is kept (loss scaling does)."""
    reference = weakref.ref(frame)  # the graph holds the frame; what hangs on its tensors must not
    with_history: list[Tensor] = []
    map_tensors(arguments, lambda tensor: with_history.append(tensor) if tensor.grad_fn is not None else None)

    def free(gradients: Any) -> None:
        found = reference()
        if found is not None:
            found.found.clear()

    if with_history:
        register_multi_grad_hook(with_history, free)


def _autocast_state() -> Callable[[], contextlib.AbstractContextManager[Any]]:
    kinds = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    states = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds]

    def enter() -> contextlib.AbstractContextManager[Any]:
        stack = contextlib.ExitStack()
        for kind, enabled, dtype in states:
            stack.enter_context(torch.autocast(kind, enabled=enabled, dtype=dtype))
        return stack

    return enter
