"""The oldest ComfyUI that works, found by trying: 0.24.0 runs the templates, 0.20.1 loads the nodes and fails when they sample."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

OLDEST = "0.24.0"


def why_too_old(version: str) -> str:
    """A sentence for whoever has an older ComfyUI than ``OLDEST``; empty where it is not older, or is no version that can be read."""
    try:
        if Version(version) >= Version(OLDEST):
            return ""
    except InvalidVersion:
        return ""
    return f"SGOOL needs ComfyUI {OLDEST} or newer and this is {version}: its nodes may be missing or fail. Please update ComfyUI."
