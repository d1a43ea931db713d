"""Whose code a model's calls go through besides ComfyUI's own: what our tests have not seen and cannot vouch for.

Looked through: the guider, its conditionings and options, what is patched onto the model, the classes of the network's layers and of their
weights, the attention that they call, and the functions of core's sampling, which packs may have replaced. Only where code comes from is
asked, by the file that it was read from; none of it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import comfy.model_patcher
import comfy.ops
import comfy.samplers
import comfy.sd
import torch
from comfy.ldm.modules import attention

from .model_state import CACHES
from .object_state import reached

_COMFYUI = Path(comfy.sd.__file__).resolve().parents[1]
_CORE = frozenset({"comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras", "app", "utils"})
_PACK = Path(__file__).resolve().parents[1]
_STANDARD = Path(str(os.__file__)).resolve().parent
# Networks are made of them, or, as transformers does, they hang functions of their own on every torch module.
_LIBRARIES = frozenset({"torch", "comfy_kitchen", "comfy_aimdo", "einops", "numpy", "safetensors", "torchvision", "transformers"})
_LIBRARIES |= sys.stdlib_module_names
# Attention whose gradient the tests have seen, by the name of core's function. SageAttention and FlashAttention are others' kernels.
_ATTENTION = frozenset(f"attention_{name}" for name in ("basic", "sub_quad", "split", "xformers", "pytorch"))
_PATCHED = ("object_patches", "weight_wrapper_patches", "wrappers", "callbacks", "injections", "attachments", "model_options")
_SKIPPED = (comfy.model_patcher.ModelPatcher, comfy.sd.VAE, comfy.sd.CLIP)


def third_parties(guider: Any, extra_args: dict[str, Any]) -> list[str]:
    """Names of the node packs, libraries and files, sorted, whose code a call of ``guider`` goes through.

    Args:
        guider: what ComfyUI hands to samplers.
        extra_args: what it hands to them for the model.
    """
    network = getattr(guider.inner_model, "diffusion_model", None)
    roots: list[tuple[str, Any]] = [("", guider), ("", extra_args), ("", vars(network) if network is not None else None)]
    patcher = getattr(guider, "model_patcher", None)
    roots += [("", getattr(patcher, name, None)) for name in _PATCHED]
    objects, _ = reached(roots, lambda thing: isinstance(thing, _SKIPPED), CACHES)
    things = [*objects, *_patched_modules(patcher), *_layers(network), *_core_functions(guider)]
    files = {_file_of(thing) for thing in things}
    found = {_name_of(file) for file in files if file is not None}
    return sorted({name for name in found if name is not None} | set(_attention(network)))


def _layers(network: Any) -> Iterator[Any]:
    """Of every kind of layer: its class, its forward, the classes of its weights."""
    if network is None:
        return
    for module in network.modules():
        yield type(module)
        yield from (vars(module).get("forward"), getattr(type(module), "forward", None), getattr(type(module), "_forward", None))
        yield from {type(parameter) for parameter in module.parameters(recurse=False)}
        yield from {type(parameter.data) for parameter in module.parameters(recurse=False)}


def _patched_modules(patcher: Any) -> Iterator[Any]:
    for value in getattr(patcher, "object_patches", {}).values():
        if isinstance(value, torch.nn.Module):
            yield from _layers(value)


def _core_functions(guider: Any) -> Iterator[Any]:
    """The functions that a call goes through in core: packs put their own in the place of some, for every model."""
    holders = (comfy.samplers, comfy.ops, attention, *type(guider).__mro__, *type(guider.inner_model).__mro__)
    for holder in holders:
        yield from (function for function in vars(holder).values() if isinstance(function, FunctionType))


def _attention(network: Any) -> Iterable[str]:
    """Attention that is not core's own, by its name."""
    modules = {type(module).__module__ for module in network.modules()} if network is not None else set()
    used = [getattr(sys.modules.get(name), "optimized_attention", None) for name in sorted(modules)]
    for function in (attention.optimized_attention, *used):
        name = getattr(function, "__name__", None)
        if name is not None and name not in _ATTENTION:
            yield name


def _file_of(thing: Any) -> Path | None:
    """The file that a function, or the class of an object, was read from; ``None`` for what has none."""
    while isinstance(thing, MethodType):
        thing = thing.__func__
    if isinstance(thing, FunctionType) and not thing.__code__.co_filename.startswith("<"):
        return Path(thing.__code__.co_filename)
    own = thing if isinstance(thing, (type, FunctionType, BuiltinFunctionType)) else type(thing)
    module = own.__module__ or ""
    if module.partition(".")[0] in _LIBRARIES:
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if file else None


def _name_of(file: Path) -> str | None:
    """What users know the code in ``file`` by; ``None`` for ComfyUI's, this pack's and the libraries that networks are made of."""
    file = file.resolve()
    if _is_own(file):
        return None
    for folder in ("custom_nodes", "site-packages", "dist-packages"):
        if folder in file.parts:
            after = len(file.parts) - file.parts[::-1].index(folder)
            name = file.parts[after].removesuffix(".py")
            return None if name in _LIBRARIES else name
    return None if _STANDARD in file.parents else file.stem


def _is_own(file: Path) -> bool:
    if file.is_relative_to(_COMFYUI):
        inside = file.relative_to(_COMFYUI).parts
        return inside[0] in _CORE or len(inside) == 1
    return file.is_relative_to(_PACK) and file.relative_to(_PACK).parts[0] != "tests"
