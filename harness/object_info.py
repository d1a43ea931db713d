"""What a node's widgets offer and begin with, by ComfyUI's object_info: what the page would show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def options_of(definition: list[Any]) -> list[Any]:
    """What a combo widget offers, in any of the forms that ComfyUI's object_info has; ``["none"]`` for one that has nothing to offer."""
    kind, details = definition[0], definition[1] if len(definition) > 1 else {}
    combo = isinstance(kind, list) or kind.startswith("COMBO")
    options = kind if isinstance(kind, list) else details.get("options", ())
    return [option["key"] if isinstance(option, dict) else option for option in options] or (["none"] if combo else [])


def widget_defaults(inputs: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The default of every required widget; sockets have none. ``chosen``: what is set, which decides what else a widget shows."""
    found: dict[str, Any] = {}
    for name, entry in inputs.get("required", {}).items():
        details, options = entry[1] if len(entry) > 1 else {}, options_of(entry)
        if "default" in details or options:
            found[name] = details.get("default", options[0] if options else None)
        for option in details.get("options", ()):
            if isinstance(option, dict) and option["key"] == chosen.get(name, found[name]):
                found |= {f"{name}.{inner}": value for inner, value in widget_defaults(option["inputs"], {}).items()}
    return found
