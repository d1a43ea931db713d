"""Tensors inside nested lists, tuples and dicts: what a model call is handed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_tensors(value: Any, change: Callable[[Tensor], Any], _seen: dict[int, Any] | None = None) -> Any:
    """Copy the lists, tuples and dicts of ``value``, with ``change`` of each tensor in place of it; everything else stays the same object.

    A container or tensor that occurs twice is copied once, so that what was shared is shared in the copy. Subclasses of the three
    containers are left as they are.
    """
    seen = {} if _seen is None else _seen
    if id(value) in seen:
        return seen[id(value)][0]
    copied: Any
    if isinstance(value, Tensor):
        copied = change(value)
    elif type(value) is list:
        copied = []
        seen[id(value)] = (copied, value)
        copied.extend(map_tensors(item, change, seen) for item in value)
    elif type(value) is dict:
        copied = {}
        seen[id(value)] = (copied, value)
        copied.update((key, map_tensors(item, change, seen)) for key, item in value.items())
    elif type(value) is tuple:
        copied = tuple(map_tensors(item, change, seen) for item in value)
    else:
        return value
    seen[id(value)] = (copied, value)  # with the original, so that its id is not given to another object
    return copied


def map_others(value: Any, change: Callable[[Any], Any], _seen: dict[int, Any] | None = None) -> Any:
    """Copy as :func:`map_tensors` does, with ``change`` of each thing that is no container."""
    seen = {} if _seen is None else _seen
    if id(value) in seen:
        return seen[id(value)]
    copied: Any
    if type(value) is list:
        copied = seen[id(value)] = []
        copied.extend(map_others(item, change, seen) for item in value)
    elif type(value) is dict:
        copied = seen[id(value)] = {}
        copied.update((key, map_others(item, change, seen)) for key, item in value.items())
    elif type(value) is tuple:
        copied = seen[id(value)] = tuple(map_others(item, change, seen) for item in value)
    else:
        copied = change(value)
    return copied
