"""A network's blocks, each recomputed on its own: the finer half of two-level checkpointing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from .autograd_mode import GradientMode
from .nested import map_tensors
from .recomputation import recompute_in_backward


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The outermost blocks of a network: modules with a forward of their own, below the lists and holders that have none.

    The network itself is not one of them. Blocks of a single layer are left out, since they hold hardly more than their input.
    """
    found: list[nn.Module] = []
    for child in module.children():
        holder = isinstance(child, (nn.ModuleList, nn.ModuleDict, nn.Sequential)) or type(child).forward is nn.Module.forward
        if holder:
            found.extend(blocks_of(child))
        elif sum(1 for _ in child.modules()) > 2:
            found.append(child)
    return found


@contextlib.contextmanager
def checkpointed_blocks(module: nn.Module) -> Iterator[int]:
    """Within the context, recompute each block of ``module`` in backward, besides what is recomputed around it; yields their number.

    Of a model call that is being recomputed, only one block's activations live at a time. A block may write into its own arguments and into
    lists and dicts among them. Each block's ``forward`` is replaced on the instance, and given back when the context ends, however it ends.
    """
    replaced: list[tuple[nn.Module, Any]] = []
    missing = object()
    try:
        for block in blocks_of(module):
            replaced.append((block, block.__dict__.get("forward", missing)))
            block.__dict__["forward"] = _recomputed(block.forward)
        yield len(replaced)
    finally:
        for block, before in reversed(replaced):
            if before is missing:
                del block.__dict__["forward"]
            else:
                block.__dict__["forward"] = before


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        mode = GradientMode.active()
        if (mode is None and not torch.is_grad_enabled()) or not _with_history((args, kwargs)):
            return forward(*args, **kwargs)
        if mode is None:
            return recompute_in_backward(forward, args, kwargs)
        with torch.inference_mode(False), mode.suspend():  # what happens around the block is no operation of the model's
            again = _in_mode_like(mode, forward)
            return recompute_in_backward(_resumed(mode, forward), args, kwargs, again=again, seen_as=mode.ordinary)

    return run


def _resumed(mode: GradientMode, forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with mode.resume():
            return forward(*args, **kwargs)

    return run


def _in_mode_like(mode: GradientMode, forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(False), mode.again():
            return forward(*args, **kwargs)

    return run


def _with_history(arguments: Any) -> bool:
    found = []
    map_tensors(arguments, lambda tensor: found.append(True) if tensor.requires_grad and not isinstance(tensor, nn.Parameter) else None)
    return bool(found)
