"""Widgets made of the dataclass fields that they set, so that names, defaults, ranges and help stand in one place."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from comfy_api.latest import io

LARGEST = 1e6  # the page wants an end to every number
MOST = 10000


def widgets_of(
    kind: type[Any],
    defaults: Any = None,
    names: Sequence[str] | None = None,
    *,
    renamed: Mapping[str, str] | None = None,
    advanced: bool = False,
) -> list[io.Input]:
    """A widget for each field of a dataclass that says what it may be (schema/ranged.py).

    Args:
        kind: the dataclass.
        defaults: an instance whose values are the widgets' defaults; the fields' own where ``None``.
        names: only these fields, in this order.
        renamed: field -> name of its widget, where the field's own would not be understood outside of its class.
        advanced: whether the page shows them only when asked.
    """
    values = kind() if defaults is None else defaults
    fields = {field.name: field for field in dataclasses.fields(kind) if "help" in field.metadata}
    chosen = [fields[name] for name in names] if names is not None else list(fields.values())
    return [_widget((renamed or {}).get(field.name, field.name), field, getattr(values, field.name), advanced) for field in chosen]


def _widget(name: str, field: dataclasses.Field[Any], default: Any, advanced: bool) -> io.Input:
    common: dict[str, Any] = {"default": default, "tooltip": field.metadata["help"], "advanced": advanced}
    if "options" in field.metadata:
        return io.Combo.Input(name, options=list(field.metadata["options"]), **common)
    if "flag" in field.metadata:
        return io.Boolean.Input(name, **common)
    span = field.metadata["range"]
    if span.whole:
        return io.Int.Input(name, min=int(span.low), max=int(min(span.high, MOST)), **common)
    high = min(span.high, LARGEST)
    if not span.high_included and math.isfinite(span.high):
        high -= 1e-4 * abs(high)
    # About a tenth of the way to the nearer end: a click changes something, and does not leave the range.
    room = min(default, span.high - default) or (0.1 if span.high == 1 else 0.01)
    step = 10.0 ** math.floor(math.log10(room / 10) + 1e-9)
    low = span.low if span.low_included else span.low + step / 10
    return io.Float.Input(name, min=low, max=high, step=step, round=False, **common)


def choice_of(name: str, kinds: dict[str, type[Any]], tooltip: str, default: Any = None, none: str | None = None) -> io.Input:
    """A combo of dataclasses by name, each with the widgets of its own fields. The first is the default.

    Args:
        kinds: name -> dataclass.
        default: the instance that is chosen, and whose values are shown, at first; ``None`` where ``none`` is the first.
        none: the name of an option without a dataclass, which comes first where nothing is chosen, and else last.
    """
    ordered = sorted(kinds.items(), key=lambda item: item[1] is not type(default))
    options = [io.DynamicCombo.Option(key, widgets_of(kind, default if kind is type(default) else None)) for key, kind in ordered]
    if none is not None:
        options.insert(0 if default is None else len(options), io.DynamicCombo.Option(none, []))
    return io.DynamicCombo.Input(name, options=options, tooltip=tooltip)


def chosen(value: dict[str, Any], name: str, kinds: dict[str, type[Any]]) -> Any:
    """The instance that a ``choice_of`` says; ``None`` for its option without a dataclass."""
    numbers = {key: number for key, number in value.items() if key != name}
    return kinds[value[name]](**numbers) if value[name] in kinds else None


def with_known_choices(*may_be_left_out: str) -> Callable[[Callable[..., io.NodeOutput]], Callable[..., io.NodeOutput]]:
    """For ``execute`` of a node with dynamic combos: core leaves out one whose value it does not know, and this says so.

    Such a value comes from a graph in API format, or from a workflow of another version.

    Args:
        may_be_left_out: combos that older graphs in API format do not have.
    """

    def decorated(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
        @functools.wraps(execute)
        def checked(cls: type[io.ComfyNode], **given: Any) -> io.NodeOutput:
            for each in cls.define_schema().inputs:
                if isinstance(each, io.DynamicCombo.Input) and each.id not in {*given, *may_be_left_out}:
                    options = ", ".join(option.key for option in each.options)
                    raise ValueError(f"This version does not have the {each.id} that the workflow asks for. Choose one of: {options}.")
            return execute(cls, **given)

        return checked

    return decorated
