"""Running a plan: forwards, backwards, and the gradient of the whole in memory that does not grow with the number of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .plan import Pair, Plan, Slope, Update

OnStep = Callable[[int, Tensor], None]
Carries = Callable[[int], bool]


def run(plan: Plan, slope: Slope, start: Pair, on_step: OnStep | None = None) -> Pair:
    """Run a plan forwards.

    Args:
        plan: from a solver.
        slope: see :data:`Slope`.
        start: (x, offset), each ``(B, ...)``: the noisy latent at the first sigma, and zeros or what :func:`invert` found beside it.
        on_step: told the number of each step when it is done, and the latent.

    Returns:
        The two states at the end; ``plan.newest[-1]`` says which is the result. Differentiable if ``slope`` is, with all steps in memory.
    """
    pair = start
    for index, step in enumerate(plan.steps):
        for update in step:
            pair = _apply(update, pair, slope)
        if on_step is not None:
            on_step(index, pair[plan.newest[index]])
    return pair


def invert(plan: Plan, slope: Slope, end: Pair, on_step: OnStep | None = None) -> Pair:
    """Run a plan backwards: from the two states at the end to the (x, offset) that :func:`run` makes them of.

    ``on_step`` is told how many steps are done when each is, and the latent.
    """
    pair = end
    for done, step in enumerate(reversed(plan.steps)):
        for update in reversed(step):
            pair = _undo(update, pair, _slope(update, pair, slope))
        if on_step is not None:
            on_step(done, pair[plan.newest[len(plan.steps) - 1 - done]])
    return pair


def end_pair(plan: Plan, slope: Slope, latent: Tensor, coupled: bool) -> Pair:
    """The two states to start an inversion from, for a ``latent (B, ...)`` that did not come from this solver, such as an image's.

    Coupled solvers take it twice. The others need the latent one sigma before as well, and take a DDIM step back for it (one model call,
    at the last sigma above 0), as their papers do. Either way the inversion is exact: :func:`run` returns these two states.
    """
    if coupled:
        return latent, latent
    last, before = plan.sigmas[-1], plan.sigmas[-2]
    earlier = latent + (before - last) * slope(latent, before)
    return (latent, earlier) if plan.newest[-1] == 0 else (earlier, latent)


def run_reversibly(
    plan: Plan,
    slope: Slope,
    start: Pair,
    *,
    carries: Carries | None = None,
    slope_with_grad: Callable[..., Tensor] | None = None,
    held: Tensor | None = None,
) -> Pair:
    """Like :func:`run`, and differentiable in ``start`` and ``held``, but keeping nothing except the two states at the end.

    Backward undoes the updates one by one and computes each model call again, once, with its graph: to undo an update and to differentiate
    it takes the same call. So a gradient costs what checkpointing each call does: one forward, one more forward, one backward of each
    call. It is as exact as the states are that backward reconstructs.

    Args:
        plan, slope, start: as for :func:`run`; ``slope`` is run without autograd.
        carries: for the number of each model call (from 0), whether its Jacobian is taken; ``None``: all.
        slope_with_grad: what backward calls, with a tensor that requires a gradient and autograd on; ``None``: ``slope``.
        held: a tensor that every slope depends on as well, such as the noise outside of a mask. ``slope_with_grad`` then gets it as a third
            argument; ``slope`` has it already.
    """
    return _Reversible.apply(start[0], start[1], held, plan, slope, carries, slope_with_grad or slope)


class _Reversible(torch.autograd.Function):
    """:func:`run_reversibly`."""

    @staticmethod
    def forward(  # type: ignore[override]  # noqa: PLR0917
        ctx: Any,
        x: Tensor,
        offset: Tensor,
        held: Tensor | None,
        plan: Plan,
        slope: Slope,
        carries: Carries | None,
        slope_with_grad: Callable[..., Tensor],
    ) -> Pair:
        # Even under a mode that hands detach() through: inside, nothing may have a history.
        with torch._C.DisableTorchFunction():
            start = x.detach(), offset.detach()
        end = run(plan, slope, start)
        ctx.plan, ctx.carries, ctx.plain_slope, ctx.slope = plan, carries, slope, slope_with_grad
        ctx.save_for_backward(*end, held)
        return end

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        *states, held = ctx.saved_tensors
        pair: Pair = tuple(state.detach() for state in states)  # type: ignore[assignment]
        holds: Tensor | None = None
        if held is not None:
            held = held.detach().requires_grad_()
            holds = torch.zeros_like(held, requires_grad=False)
        pulled: Pair = gradients[0], gradients[1]
        call = ctx.plan.calls
        for update in reversed(ctx.plan.updates):
            call -= update.weight != 0
            carried = update.weight != 0 and (ctx.carries is None or ctx.carries(call))
            other = 1 - update.target
            if not carried:
                with torch.no_grad():
                    d = _slope(update, pair, ctx.plain_slope)
                through = None
            else:
                with torch.enable_grad():
                    leaf = pair[other].detach().requires_grad_()
                    inputs = (leaf,) if held is None else (leaf, held)
                    output = ctx.slope(_scaled(update, leaf), update.sigma, *inputs[1:])
                    pull = pulled[update.target].to(output.dtype)
                    through, *through_held = torch.autograd.grad(output, inputs, pull, allow_unused=True)
                d = output.detach()
                if holds is not None and through_held and through_held[0] is not None:
                    holds = holds + update.weight * through_held[0]
                del output, leaf
            with torch.no_grad():
                pair = _undo(update, pair, d)
                pulled = _pull_back(update, pulled, through)
        return (*pulled, holds, None, None, None, None)


def _slope(update: Update, pair: Pair, slope: Slope) -> Tensor | None:
    return slope(_scaled(update, pair[1 - update.target]), update.sigma) if update.weight != 0 else None


def _scaled(update: Update, x: Tensor) -> Tensor:
    return x if update.scale == 1 else update.scale * x


def _apply(update: Update, pair: Pair, slope: Slope) -> Pair:
    changed, other = pair[update.target], pair[1 - update.target]
    if update.keep != 1:
        changed = update.keep * changed
    if update.mix != 0:
        changed = changed + update.mix * other
    d = _slope(update, pair, slope)
    if d is not None:
        changed = changed + update.weight * d
    return _placed(update, changed, other)


def _undo(update: Update, pair: Pair, d: Tensor | None) -> Pair:
    changed, other = pair[update.target], pair[1 - update.target]
    if d is not None:
        changed = changed - update.weight * d
    if update.mix != 0:
        changed = changed - update.mix * other
    if update.keep != 1:
        changed = changed / update.keep
    return _placed(update, changed, other)


def _pull_back(update: Update, pulled: Pair, through: Tensor | None) -> Pair:
    """The gradient before an update from that after it; ``through``: the Jacobian of the slope, transposed, times the target's gradient."""
    target, other = pulled[update.target], pulled[1 - update.target]
    if update.mix != 0:
        other = other + update.mix * target
    if through is not None:
        other = other + update.weight * through
    return _placed(update, update.keep * target, other)


def _placed(update: Update, target: Tensor, other: Tensor) -> Pair:
    return (target, other) if update.target == 0 else (other, target)
