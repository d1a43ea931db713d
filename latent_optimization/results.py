"""What a run tells while it goes on, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .history import History


@dataclass(frozen=True)
class Progress:
    """What ``on_iteration`` is told.

    Attributes:
        phase: ``"search"`` (best of several noises), ``"optimize"`` or ``"rescore"``.
        iteration: number of the candidate, of the iteration (up to and including ``iterations``), or of the iterate rescored.
        iterations: updates that were asked for.
        sampler_runs: how often the sampler ran so far.
        expected_sampler_runs: how often it will have run at the end, unless images stop early.
        noise: ``(B, ...)``, that of this iteration.
        latent: ``(B, ...)``, what the sampler made of it.
        loss: for each image; NaN for one that was not scored.
        active: for each image, whether it is still being optimized.
        history: so far; not to be changed.
    """

    phase: str
    iteration: int
    iterations: int
    sampler_runs: int
    expected_sampler_runs: int
    noise: Tensor
    latent: Tensor
    loss: list[float]
    active: list[bool]
    history: History


@dataclass
class Result:
    """What a run returns.

    Attributes:
        noise: ``(B, ...)``, of the given noise's shape, dtype and device: sampling from it gives ``latent``.
        latent: ``(B, ...)``, as ``generate`` made it.
        history: every number of the run.
        best_loss: ``(B,)`` float64 on the CPU, the lowest loss of each image, whichever iterate was returned; NaN if none was finite.
        returned_iteration: ``(B,)`` long on the CPU, which iterate each image's noise and latent are.
        messages: sentences for the user about images that stopped early or met numbers that are not finite.
    """

    noise: Tensor
    latent: Tensor
    history: History
    best_loss: Tensor
    returned_iteration: Tensor
    messages: list[str] = field(default_factory=list)
