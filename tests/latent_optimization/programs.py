"""Random small programs of ordinary and in-place operations, for comparing gradients with central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor

SIZE = 4
Instruction = tuple[str, int, int, int]


def fit(value: Tensor, like: Tensor) -> Tensor:
    """``value`` as an operand beside ``like``: its mean where shapes differ, a copy where they are different views of one memory."""
    if value.shape != like.shape:
        return value.mean()
    overlaps = value is not like and value.untyped_storage().data_ptr() == like.untyped_storage().data_ptr()
    return value * 1 if overlaps else value


def norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), eps=0.1)


def attention(queries: Tensor, keys: Tensor) -> Tensor:
    keys = fit(keys, queries).expand_as(queries)[None, None]
    return F.scaled_dot_product_attention(queries[None, None], keys, torch.tanh(keys))[0, 0]


def constant_of(x: Tensor) -> Tensor:
    """A weight for something as wide as ``x``."""
    return torch.cos(torch.arange(x.shape[-1] ** 2, dtype=x.dtype)).view(x.shape[-1], -1) * 0.5


def mask_of(x: Tensor) -> Tensor:
    return (torch.arange(x.numel()) % 3 == 0).view(x.shape)


def assign_row(a: Tensor, b: Tensor, c: Tensor) -> None:
    a[0] = fit(b, a).expand_as(a)[0] * 0.5


def index_put(a: Tensor, b: Tensor, c: Tensor) -> None:
    a.index_put_((torch.tensor([1, 0]),), fit(b, a).expand_as(a)[:2] * 0.7, accumulate=True)


def index_add(a: Tensor, b: Tensor, c: Tensor) -> None:
    a.index_add_(0, torch.tensor([0, 1]), fit(b, a).expand_as(a)[:2] * 0.3)


def write_out(a: Tensor, b: Tensor, c: Tensor) -> None:
    torch.mul(fit(b, a).expand_as(a) * 0.9, torch.cos(fit(c, a)), out=a)


NEW: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh": lambda a, b: torch.tanh(a),
    "sin": lambda a, b: torch.sin(a),
    "sigmoid": lambda a, b: torch.sigmoid(a),
    "softmax": lambda a, b: torch.softmax(a, -1),
    "norm": lambda a, b: norm(a),
    "times": lambda a, b: a * torch.tanh(fit(b, a)),
    "plus": lambda a, b: a + fit(b, a),
    "attention": attention,
    "linear": lambda a, b: F.linear(a, torch.tanh(fit(b, a)).expand_as(a)) if a.shape[0] == a.shape[1] else F.linear(a, constant_of(a)),
    "convolution": lambda a, b: F.conv1d(a[None], constant_of(a)[:, None, :1].expand(-1, a.shape[0], 3), padding=1)[0],
    "matmul": lambda a, b: a @ a.mT * 0.2 if a.shape[0] == a.shape[1] else a * 0.5,
}
VIEW: dict[str, Callable[[Tensor, int], Tensor]] = {
    "rows": lambda a, k: a[k % 2 : k % 2 + 2],
    "columns": lambda a, k: a[:, k % 2 : k % 2 + 2],
    "transposed": lambda a, k: a.t(),
    "flat": lambda a, k: a.view(a.shape) if a.is_contiguous() else a.T,
    "chunk": lambda a, k: a.chunk(2)[k % min(2, a.shape[0])],
    "unbind": lambda a, k: a.unbind(1)[k % min(2, a.shape[1])].unsqueeze(0),
}
WRITE: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "add_": lambda a, b, c: a.add_(fit(b, a)),
    "mul_": lambda a, b, c: a.mul_(torch.cos(fit(b, a))),
    "mul_ by it": lambda a, b, c: a.mul_(fit(b, a)).sin_(),
    "addcmul_": lambda a, b, c: a.addcmul_(fit(b, a), fit(c, a), value=0.3).tanh_(),
    "tanh_": lambda a, b, c: a.tanh_(),
    "sigmoid_": lambda a, b, c: a.sigmoid_(),
    "silu": lambda a, b, c: F.silu(a, inplace=True),
    "copy_": lambda a, b, c: a.copy_(fit(b, a)),
    "masked_fill_": lambda a, b, c: a.masked_fill_(mask_of(a), 0.4),
    "masked_scatter": lambda a, b, c: a.masked_fill_(mask_of(a), 0.0).add_(torch.sin(fit(b, a))),
    "row": assign_row,
    "index_put_": index_put,
    "index_add_": index_add,
    "out": write_out,
    "zero_": lambda a, b, c: a[-1:].zero_(),
}
instructions = st.tuples(st.sampled_from([*NEW, *VIEW, *WRITE, *WRITE]), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
programs = st.lists(instructions, min_size=2, max_size=14)


def run(program: list[Instruction], pool: list[Tensor]) -> list[Tensor]:
    """Execute ``program`` on the tensors of ``pool``, which grows."""
    for name, i, j, k in program:
        a, b, c = pool[i % len(pool)], pool[j % len(pool)], pool[k % len(pool)]
        if name in NEW:
            pool.append(NEW[name](a, b))
        elif name in VIEW:
            view = VIEW[name](a, k)
            pool.extend([view] if view.numel() else [])
        elif a.shape[0] >= 2:
            WRITE[name](a, b, c)
    return pool


def constant(seed: int) -> Tensor:
    """A buffer of a model as ComfyUI loads it: an inference tensor."""
    with torch._C.DisableTorchFunction(), torch.inference_mode():
        return torch.randn(SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def start(x: Tensor) -> list[Tensor]:
    return [x * 1.5, constant(1)]


def finish(pool: list[Tensor]) -> Tensor:
    """One tensor that depends on everything."""
    return torch.stack([torch.sin(value + 0.1 * index).sum() for index, value in enumerate(pool)])
