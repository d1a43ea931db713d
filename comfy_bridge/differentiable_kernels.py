"""Differentiable equivalents of the kernels that ComfyUI's networks use and that have no backward.

``comfy_kitchen`` fuses rotary position embedding and normalization, for inference. Its own eager functions, in its ``backends.eager``,
compute the same from ordinary operations, so gradients go through these. Importing this module is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..latent_optimization.kernels import register_equivalent

try:
    from comfy_kitchen.backends import eager  # type: ignore[import-untyped]
except ImportError:  # an older ComfyUI, whose networks do not use it
    eager = None

_FUSED = (
    "adaln",
    "rms_adaln",
    "apply_rope",
    "apply_rope1",
    "apply_rope_split_half",
    "apply_rope_split_half1",
    "rms_rope",
    "rms_rope1",
    "rms_rope_split_half",
    "rms_rope_split_half1",
)


def _in_place(function: Callable[..., Any]) -> Callable[..., None]:
    def run(*args: Any, **kwargs: Any) -> None:
        results = function(*args, **kwargs)
        results = results if isinstance(results, tuple) else (results,)
        for target, result in zip(args, results, strict=False):
            target.copy_(result)

    return run


for _name in _FUSED:
    _function = getattr(eager, _name, None)
    if _function is not None:
        register_equivalent(f"comfy_kitchen::{_name}", _function)
        register_equivalent(f"comfy_kitchen::{_name}_", _in_place(_function))
