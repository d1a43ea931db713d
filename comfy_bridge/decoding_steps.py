"""How far a decode is while it goes on: a large VAE takes minutes for one on a processor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from ..latent_optimization.blocks import blocks_of

Told = Callable[[int], None]


@contextlib.contextmanager
def told_of_blocks(vae: Any, ran: Told, differentiated: Told | None = None) -> Iterator[None]:
    """Within it, ``ran`` is told of each block of the decoder that has run, and of how many there are; of a compiled one nothing is told.

    ``differentiated``: told the same when backward comes to each, which may be after the context has ended.
    """
    blocks = _blocks(vae)

    def after(_module: nn.Module, _arguments: Any, output: Any) -> None:
        with torch._C.DisableTorchFunction():
            ran(len(blocks))
            if differentiated is not None and isinstance(output, Tensor) and output.requires_grad:
                output.register_hook(lambda _: differentiated(len(blocks)))

    hooks = [block.register_forward_hook(after) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _blocks(vae: Any) -> list[nn.Module]:
    model = getattr(vae, "first_stage_model", None)
    decoder = getattr(model, "decoder", model)
    if not isinstance(decoder, nn.Module) or any(isinstance(each, OptimizedModule) for each in decoder.modules()):
        return []  # a hook would have it compiled again
    return blocks_of(decoder)
