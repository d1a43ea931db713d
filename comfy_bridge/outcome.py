"""What an SGOOL sampler's run has to say besides its latent, and finding it again by that latent."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import comfy.utils
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..latent_optimization.along_the_way import SmallImage
from ..latent_optimization.candidates import Candidate
from ..latent_optimization.history import History
from ..latent_optimization.history_csv import to_csv
from ..latent_optimization.image_strip import image_strip
from ..latent_optimization.plot import MOST_LINES, panels_of
from ..latent_optimization.plot_drawing import draw
from .top_images import top_sheet, top_text

MOST_KEPT = 16
NOT_OURS = (
    "This latent was not made by this sampler: connect the SGOOL Sampler and the output of the node that sampled with it, in one graph."
)


@dataclass
class Outcome:
    """One run.

    Attributes:
        noise: ``(B, ...)`` float32 on the CPU: from this noise, the wrapped sampler alone gives the latent that was returned.
        history: the numbers of the run.
        messages: sentences for the user.
        top: of each image the best that the run made, the one returned first; empty where no more than that was asked for.
        along_the_way: of each of the first images, some of its iterates, the returned one last.
    """

    noise: Tensor
    history: History
    messages: list[str] = field(default_factory=list)
    top: list[list[Candidate]] = field(default_factory=list)
    along_the_way: list[list[SmallImage]] = field(default_factory=list)

    def to_text(self) -> str:
        """Messages and tables."""
        return "\n\n".join([*self.messages, *([top_text(self.top)] if self.top else []), self.history.to_text()])

    def to_csv(self) -> str:
        """The numbers, a line for each image and iteration."""
        return to_csv(self.history)

    def to_plot(self) -> Tensor:
        """The course of the run as an IMAGE ``(1, H, W, 3)``, float32 in [0, 1]."""
        history = self.history
        if not history.rows and not history.candidates:
            return plot_of_nothing("nothing was optimized")
        heading = f"SGOOL: {_counted(max(0, len(history.rows) - 1), 'iteration')}, {_counted(history.images, 'image')}"
        heading += f", the first {MOST_LINES} drawn" if history.images > MOST_LINES else ""
        return _to_image(draw(panels_of(history), heading=heading, below=image_strip(self.along_the_way)))

    def to_sheet(self) -> Tensor:
        """The best images with rank, score and what made them, as an IMAGE ``(1, H, W, 3)``."""
        return top_sheet(self.top) if self.top else plot_of_nothing("one image is returned (top_k is 1), so nothing is ranked")

    @property
    def scores(self) -> list[float]:
        """Of each of the best images, in the order of the LATENT that they are in."""
        return [each.score for several in self.top for each in several]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def plot_of_nothing(reason: str) -> Tensor:
    """What there is to show without a run: a line that says why."""
    return _to_image(draw([], heading=f"SGOOL: {reason}", height=80))


def _to_image(plot: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(plot, dtype=np.float32) / 255.0)[None]


class Outcomes:
    """The outcomes of a sampler's last runs, known by the latents they made: one SAMPLER may serve several nodes of a graph."""

    def __init__(self) -> None:
        self._by_latent: OrderedDict[str, Outcome] = OrderedDict()

    @property
    def last(self) -> Outcome | None:
        """The newest, or ``None``."""
        return next(reversed(self._by_latent.values()), None)

    def add(self, model_wrap: Any, latent: Tensor, outcome: Outcome) -> None:
        """Note the outcome of the run that made ``latent``, in the model's space, and forget the oldest."""
        with torch.no_grad():
            samples = model_wrap.inner_model.process_latent_out(latent.detach().to(torch.float32))
        key = _key(samples)
        self._by_latent.pop(key, None)
        self._by_latent[key] = outcome
        while len(self._by_latent) > MOST_KEPT:
            self._by_latent.popitem(last=False)

    def of(self, samples: Any) -> Outcome:
        """The outcome of the run that made a LATENT's ``samples``. Raises ``ValueError`` where it was none of these."""
        whole = comfy.utils.pack_latents(samples.unbind())[0] if samples.is_nested else samples
        found = self._by_latent.get(_key(whole))
        if found is None:
            raise ValueError(NOT_OURS)
        return found


def _key(samples: Tensor) -> str:
    return hashlib.sha256(samples.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()).hexdigest()
