"""The oldest ComfyUI that works, found by trying: 0.24.0 runs the templates, 0.20.1 loads the nodes and fails when they sample."""

from __future__ import annotations

import re

OLDEST = "0.24.0"


def why_too_old(version: str) -> str:
    """A sentence for whoever has an older ComfyUI than ``OLDEST``; empty where it is not older, or is no version that can be read."""
    if not re.match(r"\d+\.\d+", version) or _numbers(version) >= _numbers(OLDEST):
        return ""
    return f"SGOOL needs ComfyUI {OLDEST} or newer and this is {version}: its nodes may be missing or fail. Please update ComfyUI."


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
