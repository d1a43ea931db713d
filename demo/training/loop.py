"""One loop for every part of the demo model: seeded by step, so that it resumes where it was stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

LossFunction = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: AdamW with warm-up and a cosine down to a fiftieth of ``rate``."""

    steps: int
    rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.01
    average: float = 0.0  # decay of the weights' moving average; 0 keeps none
    clip: float = 1.0
    save_every: int = 500

    def factor(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def precision(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the processor has it in hardware (twice as fast there), else float32."""
    if device.type == "cuda" or torch.cpu._is_avx512_bf16_supported():
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


class MovingAverage:
    """The exponential moving average of a model's weights; its decay grows from 0 so that early weights are forgotten."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for k, v in model.state_dict().items():
            if v.is_floating_point():
                self.weights[k].lerp_(v.detach(), 1 - decay)


def train(name: str, model: nn.Module, loss: LossFunction, schedule: Schedule, folder: Path, *, seed: int) -> nn.Module:
    """Train ``model`` in place and return it with its final (averaged) weights.

    ``loss(generator)`` draws a batch with the step's own generator and returns a scalar. The state is kept in
    ``folder/<name>.ckpt.pt``; a finished part is not trained again.
    """
    path = folder / f"{name}.ckpt.pt"
    optimizer = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98))
    average = MovingAverage(model, schedule.average)
    step = _resume(path, model, optimizer, average)
    started, first, recent = time.monotonic(), step, 0.0
    while step < schedule.steps:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * schedule.factor(step)
        value = loss(torch.Generator().manual_seed(seed * 1_000_003 + step))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
        optimizer.step()
        if schedule.average:
            average.update(model, step)
        recent = value.item() if step == first else 0.98 * recent + 0.02 * value.item()
        step += 1
        if step % 100 == 0:
            pace = (time.monotonic() - started) / (step - first)
            print(f"{name}: step {step} of {schedule.steps}, loss {recent:.4f}, {pace:.3f} s a step", flush=True)
        if step % schedule.save_every == 0 or step == schedule.steps:
            _save(path, step, model, optimizer, average)
    if schedule.average:
        model.load_state_dict(average.weights)
    return model.eval()


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    average.weights = state["average"]
    return int(state["step"])


def _save(path: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.weights}
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def draw(n: int, size: int, generator: torch.Generator) -> Tensor:
    """``n`` indices below ``size``."""
    return torch.randint(size, (n,), generator=generator)
