"""What happened in a run, in numbers: enough to draw every plot and to say what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Cost:
    """What had been spent when a row was written, since the start of the run.

    Attributes:
        sampler_runs: times the sampler ran, for the whole batch.
        sampler_backwards: times a gradient was taken through the sampler, for the whole batch.
        evaluations: times the objective, or a held-out one, scored one image.
        model_calls: evaluations of the diffusion model as counted by whoever makes ``generate``; ``None`` if nobody counts.
        seconds: wall-clock time.
    """

    sampler_runs: int = 0
    sampler_backwards: int = 0
    evaluations: int = 0
    model_calls: int | None = None
    seconds: float = 0.0

    def add_calls(self, calls: int) -> None:
        """So many more model calls, of no run."""
        if self.model_calls is not None:
            self.model_calls += calls

    def add_run(self) -> None:
        """One more run of the sampler, without gradient: as many model calls as the runs before it made."""
        if self.model_calls is not None and self.sampler_runs:
            self.model_calls += self.model_calls // self.sampler_runs
        self.sampler_runs += 1


@dataclass
class Row:
    """One iteration. Lists have one entry per image; NaN where nothing was measured (an image that had stopped).

    Attributes:
        iteration: 0 is the noise the run started from; the last row has a loss but no gradient and no step.
        loss: the objective's, without the regularizer.
        parts: the objective's parts by name.
        regularizer: the regularizer's value, before its weight.
        gradient_norm: Euclidean norm of the gradient in the noise, of all that is minimized.
        step_norm: Euclidean distance to the next noise, renormalization included.
        noise_norm: Euclidean norm of the noise that the loss belongs to.
        step_factor: factor of the image's steps, halved by each failure; a trust region changes it too.
        predicted_fall: fall of what is minimized that the gradient promises of the step to the next noise.
        fall: what it fell by in the step that led here, under the augmentations of before it; measured where there is a trust region.
        rejected: whether that step is taken back; the loss is then the one that decided it.
        active: whether the image was still being optimized when the iteration began.
        finite: whether its loss and gradient were finite.
        cost: spent by the end of the iteration.
    """

    iteration: int
    loss: list[float]
    parts: dict[str, list[float]]
    regularizer: list[float]
    gradient_norm: list[float]
    step_norm: list[float]
    noise_norm: list[float]
    step_factor: list[float]
    predicted_fall: list[float]
    fall: list[float]
    rejected: list[bool]
    active: list[bool]
    finite: list[bool]
    cost: Cost


@dataclass
class TriedNoise:
    """One noise tried before the first iteration (``best_of``): its loss for each image. Number 0 is the noise that was given."""

    number: int
    loss: list[float]
    cost: Cost


@dataclass
class Rescored:
    """One iterate of one image rescored."""

    image: int
    iteration: int
    loss: float
    cost: Cost


@dataclass
class HeldOut:
    """What a held-out objective says of one image at one place of a run.

    Attributes:
        image: its index.
        place: ``"given"`` (the noise that the run was given), ``"searched"`` (what a search started from) or ``"returned"``.
        objective: the loss that is optimized, without augmentations.
        loss: the held-out objective's, likewise.
        parts: its parts by name.
    """

    image: int
    place: str
    objective: float
    loss: float
    parts: dict[str, float]


@dataclass
class History:
    """All of a run's numbers.

    Attributes:
        images: batch size.
        elements: elements of one image's noise; norms divided by its square root are in units of the noise's standard deviation.
        settings: the settings of the run, as plain values.
        candidates, rows, rescored: before, during and after the iterations, in the order they happened.
        held_out: what a held-out objective says before and after, where there is one.
        started_from: for each image, which candidate it started from.
        stopped: for each image, why it stopped before the last iteration, or ``None``.
        returned_iteration: for each image, which iterate was returned.
        cost: of the whole run.
    """

    images: int
    elements: int
    settings: dict[str, Any] = field(default_factory=dict)
    candidates: list[TriedNoise] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    rescored: list[Rescored] = field(default_factory=list)
    held_out: list[HeldOut] = field(default_factory=list)
    started_from: list[int] = field(default_factory=list)
    stopped: list[str | None] = field(default_factory=list)
    returned_iteration: list[int] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)

    def losses(self, image: int) -> list[tuple[int, float]]:
        """The loss curve of one image: pairs of iteration and loss, where it was measured, finite, and not taken back."""
        return [(row.iteration, row.loss[image]) for row in self.rows if math.isfinite(row.loss[image]) and not row.rejected[image]]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists, numbers and strings that JSON takes: numbers that are not finite become ``None``."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain

    def to_text(self) -> str:
        """A table for each image, to be read by people."""
        blocks = [self._image_text(image) for image in range(self.images)]
        return "\n\n".join([*blocks, self._cost_text()])

    def _image_text(self, image: int) -> str:
        names = list(self.rows[0].parts) if self.rows else []
        root = math.sqrt(self.elements)
        table = [["iteration", "loss", *names, "gradient", "step rms", "noise rms", "factor"]]
        for row in self.rows:
            if not row.active[image]:
                continue
            values = [row.loss[image], *(row.parts.get(name, [math.nan] * self.images)[image] for name in names)]
            values += [row.gradient_norm[image], row.step_norm[image] / root, row.noise_norm[image] / root, row.step_factor[image]]
            table.append([str(row.iteration), *(_number(value) for value in values)])
        lines = [f"Image {image + 1}", *_aligned(table)] if len(table) > 1 else [f"Image {image + 1}: not scored"]
        if len(self.candidates) > 1:
            tried = ", ".join(_number(candidate.loss[image]) for candidate in self.candidates)
            lines.insert(1, f"started from noise {self.started_from[image]} of losses {tried}")
        lines += self._judgments(image)
        if self.stopped and self.stopped[image]:
            lines.append(f"stopped early: {self.stopped[image]}")
        if self.returned_iteration:
            lines.append(f"returned: iteration {self.returned_iteration[image]}")
        return "\n".join(lines)

    def _judgments(self, image: int) -> list[str]:
        """What was asked of one image beside the iterations' own scores."""
        lines = [f"rescored: iteration {line.iteration}, loss {_number(line.loss)}" for line in self.rescored if line.image == image]
        for look in self.held_out:
            if look.image == image:
                parts = "".join(f", {name} {_number(value)}" for name, value in look.parts.items())
                lines.append(f"held out, {look.place}: loss {_number(look.loss)}{parts} (that of the objective {_number(look.objective)})")
        judged = [row.rejected[image] for row in self.rows if math.isfinite(row.fall[image])]
        if judged:
            lines.append(f"steps that lowered the loss and were kept: {judged.count(False)} of {len(judged)}")
        return lines

    def _cost_text(self) -> str:
        cost = self.cost
        text = f"{cost.sampler_runs} sampler runs, {cost.sampler_backwards} of them differentiated, {cost.evaluations} evaluations"
        return text if cost.model_calls is None else f"{text}, {cost.model_calls} model calls"


def _number(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else "-"


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
