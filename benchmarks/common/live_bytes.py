"""The bytes of tensors that are alive at a time, counted operation by operation.

On a processor, or on torch's ``meta`` device, where nothing is computed and nothing stored, so that networks of any size can be counted.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FLASH_HEAD = 256
"""The widest head that flash attention takes; wider ones (a VAE's, of 512) and masks go to the memory-efficient kernel."""


class LiveBytes(TorchDispatchMode):
    """Counts the memory that operations inside make, each memory once, from when it is made to when its last tensor goes.

    What was there before (weights, conditioning) is not counted, nor is what a kernel takes for itself while it runs, nor what an allocator
    rounds up to or cannot use.

    On the ``meta`` device, which has no numbers, a number that the code asks for is 0.

    Attributes:
        now, most: bytes alive now, and the most at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].device.type == "meta":
            return _zero(args[0].dtype)
        before = {id(each.untyped_storage()) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self._note(each, before)
        return result

    def _note(self, tensor: Tensor, before: set[int]) -> None:
        storage = tensor.untyped_storage()  # the same object each time, for as long as the memory lives
        if id(storage) in before or id(storage) in self._known:
            return
        size, number = storage.nbytes(), id(storage)
        self._known[number] = weakref.finalize(storage, self._gone, number, size)
        self.now += size
        self.most = max(self.most, self.now)

    def _gone(self, number: int, size: int) -> None:
        del self._known[number]
        self.now -= size


def _zero(dtype: torch.dtype) -> Any:
    return False if dtype == torch.bool else 0.0 if dtype.is_floating_point else 0


@contextlib.contextmanager
def attention_as_on_a_gpu() -> Iterator[None]:
    """Within the context, attention on the ``meta`` device is the kernel that a GPU would run, which keeps no matrix of all pairs.

    Torch has no choice of kernels for that device. A mode would not do: it is off while backward runs, where calls are made again.
    """
    own = functional.scaled_dot_product_attention

    def attention(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return (fused_attention if query.device.type == "meta" else own)(query, *args, **kwargs)

    functional.scaled_dot_product_attention = attention  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = own


def fused_attention(  # noqa: PLR0917  (torch's signature)
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``torch.nn.functional.scaled_dot_product_attention`` by the flash or the memory-efficient kernel."""
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
    if attn_mask is None and query.shape[-1] <= FLASH_HEAD and query.dtype in (torch.float16, torch.bfloat16):
        return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, False, scale=scale)[0]
    bias = None if attn_mask is None else attn_mask.to(query.dtype).expand(*query.shape[:-1], key.shape[-2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, bias, True, dropout_p, is_causal, scale=scale)[0]


def counted(run: Callable[[], Any]) -> tuple[int, int]:
    """The most bytes alive at a time while ``run()`` runs, and how many still are when what it returns is held."""
    with attention_as_on_a_gpu(), LiveBytes() as bytes_alive:
        kept = run()
        left = bytes_alive.now
    del kept
    return bytes_alive.most, left


def most_bytes(run: Callable[[], Any], device: torch.device | str = "cpu") -> int:
    """The most bytes that tensors made by one call took at a time."""
    gc.collect()
    if torch.device(device).type != "cuda":
        return counted(run)[0]
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before
