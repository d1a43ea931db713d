"""Models that remember something from one call to the next, patched by core's own nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.hooks
import comfy_extras.nodes_apg as apg
import comfy_extras.nodes_easycache as easycache
import comfy_extras.nodes_hooks as hook_nodes
import comfy_extras.nodes_hypertile as hypertile
import comfy_extras.nodes_tomesd as tomesd

from .tiny_models import conditioning, low_rank, tiny_model

Patched = tuple[Any, list[Any]]  # a MODEL, and a positive CONDITIONING for it


def hook_keyframes() -> Patched:
    """LoRA hook of strength 2 on the positive conditioning, without effect from halfway."""
    model = tiny_model()
    hooks = comfy.hooks.create_hook_lora(low_rank(model), 2.0, 0.0)
    (keyframes,) = hook_nodes.CreateHookKeyframe().create_hook_keyframe(1.0, 0.0)
    (keyframes,) = hook_nodes.CreateHookKeyframe().create_hook_keyframe(0.0, 0.5, keyframes)
    (hooks,) = hook_nodes.SetHookKeyframes().set_hook_keyframes(hooks, keyframes)
    return model, comfy.hooks.set_hooks_for_conditioning(conditioning(1), hooks)


def weight_hook() -> Patched:
    """The LoRA hook without keyframes: weights change from one conditioning to the other, within each call."""
    model = tiny_model()
    return model, comfy.hooks.set_hooks_for_conditioning(conditioning(1), comfy.hooks.create_hook_lora(low_rank(model), 2.0, 0.0))


def easy_cache() -> Patched:
    """Skips some of the calls."""
    return easycache.EasyCacheNode.execute(tiny_model(), 1.0, 0.0, 1.0, False)[0], conditioning(1)


def lazy_cache() -> Patched:
    """Skips some of the calls."""
    return easycache.LazyCacheNode.execute(tiny_model(), 1.0, 0.0, 1.0, False)[0], conditioning(1)


def apg_momentum() -> Patched:
    """Adds up the guidance over the calls."""
    return apg.APG.execute(tiny_model(), 0.5, 0.0, 0.5)[0], conditioning(1)


def hyper_tile() -> Patched:
    """Keeps a shape from one part of a call to the next, and draws from the global generator."""
    return hypertile.HyperTile.execute(tiny_model(), 32, 2, 0, False)[0], conditioning(1)


def token_merging() -> Patched:
    """Keeps functions from one part of a call to the next."""
    return tomesd.TomePatchModel.execute(tiny_model(), 0.3)[0], conditioning(1)


ACROSS_CALLS: list[Callable[[], Patched]] = [hook_keyframes, easy_cache, lazy_cache, apg_momentum]
WITHIN_CALLS: list[Callable[[], Patched]] = [weight_hook, hyper_tile, token_merging]
