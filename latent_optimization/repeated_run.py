"""A differentiable run whose graph can be let go of before backward, which then makes it again."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Guard = Callable[[Callable[[], Any]], Any]


class _Graph:
    """One run's own graph, from a leaf to what was returned."""

    def __init__(self, run: Callable[[Tensor], Tensor], noise: Tensor) -> None:
        self._run, self._noise = run, noise.detach()
        self.ends: tuple[Tensor, Tensor] | None = None

    def make(self) -> tuple[Tensor, Tensor]:
        if self.ends is None:
            with torch.inference_mode(False), torch.enable_grad():
                leaf = self._noise.clone().requires_grad_()
                self.ends = leaf, self._run(leaf)
        return self.ends

    def pulled(self, gradient: Tensor) -> Tensor | None:
        leaf, output = self.make()
        return torch.autograd.grad(output, leaf, gradient, retain_graph=True, allow_unused=True)[0]


class RepeatedRun:
    """``run``, with the graph of its last result in our hands.

    Args:
        run: noise to latent, differentiable; does the same each time.
        guard: calls what it is given and returns the result, perhaps again after a failure (out of memory). It may call :meth:`release`.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], guard: Guard) -> None:
        self._run, self._guard = run, guard
        self._newest: weakref.ref[_Graph] | None = None

    def __call__(self, noise: Tensor) -> Tensor:
        """``run(noise)``; its graph lives as long as the result's."""
        if not noise.requires_grad:
            return self._guard(lambda: self._run(noise))
        graph = _Graph(self._run, noise)
        self._newest = weakref.ref(graph)
        _, output = self._guard(graph.make)
        if not output.requires_grad:
            return output
        return _Pulled.apply(noise, output.detach(), graph, self._guard)

    def release(self) -> None:
        """Let go of the newest result's graph. A backward through it begins with another run."""
        graph = self._newest() if self._newest is not None else None
        if graph is not None:
            graph.ends = None


class _Pulled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, noise: Tensor, output: Tensor, graph: _Graph, guard: Guard) -> Tensor:  # type: ignore[override]
        ctx.graph, ctx.guard = graph, guard
        return output.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:  # type: ignore[override]
        return ctx.guard(lambda: ctx.graph.pulled(gradient)), None, None, None
