"""What the page shows of widgets that nobody touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io


def as_given(inputs: Sequence[Any]) -> dict[str, Any]:
    """As ComfyUI hands them to a node: a dynamic combo as a dictionary of its own."""
    shown: dict[str, Any] = {}
    for each in inputs:
        if isinstance(each, io.DynamicCombo.Input):
            first = each.options[0]
            shown[each.id] = {each.id: first.key, **as_given(first.inputs)}
        elif hasattr(each, "default"):
            shown[each.id] = each.default
    return shown


def as_sent(inputs: Sequence[Any]) -> dict[str, Any]:
    """As an API-format workflow has them: what belongs to a dynamic combo under its name and a dot."""
    sent: dict[str, Any] = {}
    for name, value in as_given(inputs).items():
        if isinstance(value, dict):
            sent |= {name: value[name], **{f"{name}.{key}": inner for key, inner in value.items() if key != name}}
        else:
            sent[name] = value
    return sent
