"""The published steps of the four solvers, transcribed in their own variables, and a model for them.

A state is z = alpha * x0 + sigma * eps, as in the papers; ``model(z, i)`` predicts eps at time i, i counting down to 0 (the image).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

Model = Callable[[Tensor, int], Tensor]


class Times:
    """alpha and sigma of a variance-preserving model by time, from ComfyUI's falling sigmas; time 0 is the last of them."""

    def __init__(self, sigmas: list[float]) -> None:
        rising = sigmas[::-1]
        self.alpha = [1 / math.sqrt(1 + s * s) for s in rising]
        self.sigma = [s / math.sqrt(1 + s * s) for s in rising]
        self.last = len(sigmas) - 1

    def ddim(self, z: Tensor, e: Tensor, i: int, to: int) -> Tensor:
        a = self.alpha[to] / self.alpha[i]
        return a * z + (self.sigma[to] - a * self.sigma[i]) * e


def eps(z: Tensor, i: int) -> Tensor:
    """A smooth prediction that couples the elements of each image and depends on the time."""
    return 0.8 * torch.tanh(z + 0.3 * z.roll(1, -1) - 0.02 * i) + 0.1 * torch.sin(3 * z.roll(1, -2))


def edict(z: Tensor, times: Times, p: float, alternate: bool, other: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """arXiv 2211.12446: both estimates, then the mixing. Starts from z twice, or from z and another."""
    x, y, seen, model = z, z if other is None else other, [z], eps
    for count, i in enumerate(range(times.last, 0, -1)):
        if alternate and count % 2:
            y = times.ddim(y, model(x, i), i, i - 1)
            x = times.ddim(x, model(y, i), i, i - 1)
        else:
            x = times.ddim(x, model(y, i), i, i - 1)
            y = times.ddim(y, model(x, i), i, i - 1)
        x = p * x + (1 - p) * y
        y = p * y + (1 - p) * x
        seen.append(x)
    return seen, y


def bdia(z: Tensor, times: Times, gamma: float, model: Model = eps) -> list[Tensor]:
    """arXiv 2307.10829, method.md's row: gamma on the latent before, minus DDIM's step back to it, plus DDIM's step."""
    seen = [z, times.ddim(z, model(z, times.last), times.last, times.last - 1)]
    for i in range(times.last - 1, 0, -1):
        before, now = seen[-2:]
        e = model(now, i)
        seen.append(gamma * before - gamma * times.ddim(now, e, i, i + 1) + times.ddim(now, e, i, i - 1))
    return seen


def o_belm(z: Tensor, times: Times, model: Model = eps) -> list[Tensor]:
    """arXiv 2410.07273."""
    a, s = times.alpha, times.sigma
    h = [0.0] + [s[i] / a[i] - s[i - 1] / a[i - 1] for i in range(1, times.last + 1)]
    seen = [z, times.ddim(z, model(z, times.last), times.last, times.last - 1)]
    for i in range(times.last - 1, 0, -1):
        before, now = seen[-2:]
        of_before = h[i] ** 2 / h[i + 1] ** 2 * a[i - 1] / a[i + 1]
        of_now = (h[i + 1] ** 2 - h[i] ** 2) / h[i + 1] ** 2 * a[i - 1] / a[i]
        seen.append(of_before * before + of_now * now - h[i] * (h[i] + h[i + 1]) / h[i + 1] * a[i - 1] * model(now, i))
    return seen


def mccallum_foster(x: Tensor, sigmas: list[float], zeta: float, denoised: Callable[[Tensor, float], Tensor]) -> list[Tensor]:
    """McCallum and Foster's coupling of Euler's method for u = x / sigma, du = D d(1 / sigma); no sigma may be 0."""
    u = v = x / sigmas[0]
    seen = [x]
    for now, following in itertools.pairwise(sigmas):
        step = 1 / following - 1 / now
        u = zeta * u + (1 - zeta) * v + step * denoised(v * now, now)
        v = v - (-step) * denoised(u * following, following)
        seen.append(u * following)
    return seen
