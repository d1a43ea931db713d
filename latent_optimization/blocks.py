"""A network's blocks, each recomputed on its own: the finer half of two-level checkpointing."""

from __future__ import annotations

import contextlib
import threading
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
def checkpointed_blocks(module: nn.Module) -> Iterator[set[nn.Module]]:
    """Within the context, recompute each block of ``module`` in backward, besides what is recomputed around it.

    Yields a set that gets those that were.

    Of a model call that is being recomputed, only one block's activations live at a time. A block may write into its own arguments and into
    lists and dicts among them. Where a network goes past a block's ``forward`` and calls what is in it (HiDream-O1 calls the layers of
    its language model), the blocks in it are recomputed instead. Each block's ``forward`` is replaced on the instance, and given back when
    the context ends, however it ends.
    """
    replaced: list[tuple[nn.Module, Any]] = []
    missing = object()
    recomputed = _Recomputed()
    try:
        for block in _with_inner(module):
            replaced.append((block, block.__dict__.get("forward", missing)))
            block.__dict__["forward"] = recomputed.forward_of(block)
        yield recomputed.blocks
    finally:
        for block, before in reversed(replaced):
            if before is missing:
                del block.__dict__["forward"]
            else:
                block.__dict__["forward"] = before


def _with_inner(module: nn.Module) -> Iterator[nn.Module]:
    for block in blocks_of(module):
        yield block
        yield from _with_inner(block)


class _Recomputed:
    """Makes the ``forward`` that is recomputed in backward, of blocks that are in no other while they run.

    Attributes:
        blocks: those that were recomputed, or will be.
    """

    def __init__(self) -> None:
        self.blocks: set[nn.Module] = set()
        self._within = threading.local()  # backward may run in a thread of its own

    def forward_of(self, block: nn.Module) -> Callable[..., Any]:
        original = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            self._within.block = True
            try:
                return original(*args, **kwargs)
            finally:
                self._within.block = False

        def run(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._within, "block", False):
                return original(*args, **kwargs)
            mode = GradientMode.active()
            if (mode is None and not torch.is_grad_enabled()) or not _with_history((args, kwargs)):
                return original(*args, **kwargs)
            self.blocks.add(block)
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
