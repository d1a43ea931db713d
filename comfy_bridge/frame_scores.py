"""The loss of a video: the mean over its frames."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..guidance.objective import Context, Objective, Scored
from ..latent_optimization.autograd_mode import GradientMode
from ..numerics.given_gradient import with_gradient


def mean_over_frames(objective: Objective, frames: Tensor, context: Context, before_each: Callable[[], None] | None = None) -> Scored:
    """Score the frames ``(n, 3, H, W)`` of one video in [0, 1], and average losses ``(1,)`` and parts.

    With gradients, each frame's is taken before the next frame is scored, so that the memory needed is that of one frame however many
    there are. Frames draw their own augmentations, one after another. Losses that have no gradient in a frame are returned without any.
    """
    with_grad = frames.requires_grad and torch.is_grad_enabled()
    if len(frames) == 1:
        return _judged(objective, frames, context, with_grad)
    scored, gradients = list[Scored](), list[Tensor | None]()
    for number, frame in enumerate(frames.detach().unbind(0)):
        if before_each is not None:
            before_each()
        leaf = frame[None].requires_grad_(with_grad)
        one = _judged(objective, leaf, replace(context, frame=number), with_grad)
        gradients += torch.autograd.grad(one.losses.sum(), leaf, allow_unused=True) if one.losses.requires_grad else [None]
        scored.append(Scored(one.losses.detach(), one.parts))
    losses = torch.stack([one.losses for one in scored]).mean(0)
    found = [gradient for gradient in gradients if gradient is not None]
    if len(found) == len(frames):
        losses = with_gradient(losses, frames, torch.cat(found).to(frames) / len(frames))
    return Scored(losses, {name: torch.stack([one.parts[name] for one in scored]).mean(0) for name in scored[0].parts})


def _judged(objective: Objective, images: Tensor, context: Context, with_grad: bool) -> Scored:
    with GradientMode() if with_grad else contextlib.nullcontext():
        return objective(images, context)
