"""What Python objects hold, noted and put back: closures, attributes, lists, dicts and generators, wherever they can be reached from.

Nodes that patch a model keep what they remember from one call to the next in ordinary Python: a variable of an enclosing function
(``nonlocal``), an attribute of an object in ``transformer_options``, an entry of a dict. None of them can be asked for it, but all of it
can be found by following references from the model and its options. Not found: variables of modules, ``__slots__``.
"""

from __future__ import annotations

import collections
import enum
import functools
import random
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Modules whose objects are nobody's memory of a run: the server, threads, progress bars and libraries. By the first name of the path.
OTHERS = frozenset(
    {
        "aiohttp",
        "app",
        "asyncio",
        "comfy_api",
        "comfy_execution",
        "concurrent",
        "contextvars",
        "execution",
        "inspect",
        "io",
        "logging",
        "numpy",
        "pathlib",
        "PIL",
        "queue",
        "re",
        "server",
        "threading",
        "torch",
        "tqdm",
        "transformers",
        "uuid",
        "weakref",
    }
)
_LEAVES = (Tensor, nn.Module, type, types.ModuleType, str, bytes, int, float, complex, enum.Enum, type(None))
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_MISSING = object()
Names = list[str]


class Snapshot:
    """What everything that can be reached from ``roots`` held when this was made.

    Tensors are kept as they are, with their history, and copied only if somebody may write to them: those that are no weights and no
    inference tensors. Weights, modules and the insides of libraries are not looked at.

    Args:
        roots: where to start, with names for messages.
        skipped: whether an object is not to be looked into.
        ignored: attributes and entries of these names are left alone: caches of what would only be computed again.

    Attributes:
        objects: the objects and functions that were found on the way.
    """

    def __init__(
        self, roots: Sequence[tuple[str, Any]], skipped: Callable[[Any], bool] = lambda _: False, ignored: frozenset[str] = frozenset()
    ) -> None:
        self._copies: dict[int, tuple[Tensor, int, Tensor]] = {}
        with torch._C.DisableTorchFunction():
            self.objects, self._places = reached(roots, skipped, ignored)
            for place in self._places:
                for value in place.values():
                    self._keep(value)

    def changed(self) -> Names:
        """Who holds something else now: names of classes, and of the classes or functions in which closures were made; sorted."""
        with torch._C.DisableTorchFunction():
            return sorted({place.owner for place in self._places if self._differs(place)})

    def restore(self) -> Names:
        """Put everything back; returns what :meth:`changed` would have said. May be called any number of times.

        A tensor that was written to is replaced by a copy of what it was, since autograd may need it as it is now.
        """
        with torch._C.DisableTorchFunction():
            fresh: dict[int, Tensor] = {}
            different = [place for place in self._places if self._differs(place)]
            for place in different:
                place.put_back(lambda value: self._as_it_was(value, fresh))
            return sorted({place.owner for place in different})

    def _keep(self, value: Any) -> None:
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and not value.is_inference():
            self._copies.setdefault(id(value), (value, value._version, value.clone()))

    def _differs(self, place: _Place) -> bool:
        return place.differs() or any(self._written(value) for value in place.values())

    def _written(self, value: Any) -> bool:
        return isinstance(value, Tensor) and id(value) in self._copies and value._version != self._copies[id(value)][1]

    def _as_it_was(self, value: Any, fresh: dict[int, Tensor]) -> Any:
        if not self._written(value):
            return value
        return fresh.setdefault(id(value), self._copies[id(value)][2].clone())


class _Place:
    """One thing that can change: what it held, and how to make it hold that again."""

    def __init__(self, owner: str, held: Any, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self.owner = owner
        self._held, self._read, self._write = held, read, write

    def values(self) -> list[Any]:
        """What it held, one by one."""
        if isinstance(self._held, dict):
            return list(self._held.values())
        return self._held if isinstance(self._held, list) else [self._held]

    def differs(self) -> bool:
        return not _same(self._held, self._read())

    def put_back(self, change: Callable[[Any], Any]) -> None:
        if isinstance(self._held, dict):
            self._write({key: change(value) for key, value in self._held.items()})
        elif isinstance(self._held, list):
            self._write([change(value) for value in self._held])
        else:
            self._write(change(self._held))


def _same(one: Any, other: Any) -> bool:
    """Whether two copies of a container hold the very same things (numbers and texts: equal ones)."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same_leaf(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(_same_leaf(a, b) for a, b in zip(one, other, strict=True))
    return _same_leaf(one, other)


def _same_leaf(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, (str, bytes, int, float, complex, set)) and type(one) is type(other):
        return bool(one == other)
    return isinstance(one, Tensor) and one.dtype == torch.uint8 and isinstance(other, Tensor) and torch.equal(one, other)


def reached(roots: Sequence[tuple[str, Any]], skipped: Callable[[Any], bool], ignored: frozenset[str]) -> tuple[list[Any], list[_Place]]:
    """Everything that can be reached, and what of it can change. Not recursive: chains of wrappers may be long."""
    seen: dict[int, Any] = {}  # with the things themselves, so that no id is given to another one meanwhile
    places: list[_Place] = []
    waiting = list(roots)
    while waiting:
        owner, thing = waiting.pop()
        if isinstance(thing, _LEAVES) or id(thing) in seen or skipped(thing):
            continue
        seen[id(thing)] = thing
        place = _place(owner, thing, ignored)
        if place is not None:
            places.append(place)
        waiting += _inside(owner, thing, ignored)
    return [thing for thing in seen.values() if not isinstance(thing, (dict, list, tuple, set))], places


def _place(owner: str, thing: Any, ignored: frozenset[str]) -> _Place | None:
    """``thing`` itself as a place, if it can change."""
    if isinstance(thing, dict):
        return _dict_place(owner, thing, ignored)
    if isinstance(thing, (list, collections.deque, set)):
        copy = set if isinstance(thing, set) else list
        return _Place(owner, copy(thing), lambda: copy(thing), lambda held: _refill(thing, held))
    if isinstance(thing, types.CellType):
        return _Place(owner, _content(thing), lambda: _content(thing), lambda held: _fill(thing, held))
    if isinstance(thing, torch.Generator):
        return _Place(owner, thing.get_state(), thing.get_state, lambda held: _set_state(thing, held))
    if isinstance(thing, random.Random):
        return _Place(owner, thing.getstate(), thing.getstate, thing.setstate)
    return None


def _dict_place(owner: str, thing: dict[Any, Any], ignored: frozenset[str]) -> _Place:
    def read() -> dict[Any, Any]:
        return {key: value for key, value in thing.items() if not (isinstance(key, str) and key in ignored)}

    def write(held: dict[Any, Any]) -> None:
        for key in read():
            if key not in held:
                del thing[key]
        thing.update(held)

    return _Place(owner, read(), read, write)


def _inside(owner: str, thing: Any, ignored: frozenset[str]) -> list[tuple[str, Any]]:
    """What ``thing`` refers to, with the names of who holds it."""
    if isinstance(thing, dict):
        return [(owner, value) for key, value in thing.items() if not (isinstance(key, str) and key in ignored)]
    if isinstance(thing, (list, tuple, set, frozenset, collections.deque)):
        return [(owner, value) for value in thing]
    if isinstance(thing, types.CellType):
        return [(owner, _content(thing))]
    if isinstance(thing, _FUNCTIONS):
        return _inside_function(owner, thing)
    if type(thing).__module__.split(".")[0] in OTHERS or not isinstance(getattr(thing, "__dict__", None), dict):
        return []
    return [(type(thing).__name__, vars(thing))]


def _inside_function(owner: str, thing: Any) -> list[tuple[str, Any]]:
    if isinstance(thing, types.MethodType):
        return [(owner, thing.__self__), (owner, thing.__func__)]
    if isinstance(thing, functools.partial):
        return [(owner, thing.func), (owner, thing.args), (owner, thing.keywords)]
    made_in = thing.__qualname__.split(".")[0]
    return [(made_in, value) for value in (*(thing.__closure__ or ()), thing.__defaults__, thing.__kwdefaults__, vars(thing))]


def _set_state(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _fill(cell: types.CellType, content: Any) -> None:
    if content is _MISSING:
        del cell.cell_contents
    else:
        cell.cell_contents = content


def _refill(container: Any, held: Any) -> None:
    container.clear()
    if isinstance(container, set):
        container.update(held)
    else:
        container.extend(held)
