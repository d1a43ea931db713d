"""What is shown of an optimization while it goes on: where its bar stands, the text in its node, its preview."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from ..latent_optimization.along_the_way import AlongTheWay
from ..latent_optimization.history import History
from ..latent_optimization.judged_images import JudgedImages
from ..latent_optimization.recorder import Progress
from ..latent_optimization.settings import Settings
from ..latent_optimization.status import status
from ..latent_optimization.work import DECODE, SCORE, Position, Ticks, Work
from .preview import Live
from .progress import Bar, Text


class RunProgress:
    """Told of what a run does, shows it.

    Args:
        bar: of the node, of which the run is all.
        text: of the node.
        settings: of the run.
        shown: how many images along the way are kept of each.

    Attributes:
        along_the_way: those images.
        decoding: told of each part of a decode.
        score_in_backward: the same of backward through the decodes and scores of an image.
    """

    def __init__(self, bar: Bar, text: Text, settings: Settings, shown: int = 0) -> None:
        self._bar, self._text, self._settings = bar, text, settings
        self._live, self._position, self._work = Live(), Position(1.0, [], bar.to), Work(settings, 1, 1, 1)
        self._history: Callable[[], History] | None = None
        self._phase, self._number, self._rescored = "search" if settings.best_of > 1 else "optimize", 0, 0
        self._forwards, self._first_call = False, False
        self._judged, self._shows = JudgedImages(), bool(shown) or self._live.wanted
        self.along_the_way = AlongTheWay(shown)
        self.decoding, self.score_in_backward = Ticks(DECODE, self._add), Ticks(self._work.score_backward, self._add)

    def begin(self, work: Work, history: Callable[[], History]) -> None:
        """The run begins."""
        self._work, self._history = work, history
        self._position = Position(work.total, work.marks, self._bar.to)
        self.score_in_backward = Ticks(work.score_backward, self._add)

    def run_begins(self) -> None:
        """The sampler runs, forwards."""
        self._forwards = self._first_call = True
        self._judged.run_begins()

    def run_ends(self) -> None:
        """It has run."""
        self._forwards = False
        self._add(1.0)

    def call_begins(self) -> None:
        """Before a model call, also before one that backward makes again."""
        if self._forwards:
            self._add(0.0 if self._first_call else 1.0)
            self._first_call = False

    def in_backward(self) -> None:
        """Backward comes to a model call."""
        self._add(self._work.backward)

    def scored(self) -> None:
        """An image is scored that was decoded before; the gradient in its latent may be still to come."""
        self._add(SCORE - DECODE)

    def judged(self, index: int, images: Tensor, maps: Mapping[int, Tensor]) -> None:
        """Frames ``(n, 3, H, W)`` of an image or video are scored; ``maps``: what is salient in images, by place."""
        if self._shows:
            self._judged.judged(index, images, maps.get(index) if len(images) == 1 else None)

    def told(self, progress: Progress) -> None:
        """A candidate, an iteration or a rescoring is done."""
        number = progress.iteration if progress.phase != "rescore" else self._rescored
        self._position.reached(self._work.after(progress.phase, number))
        if progress.phase == "rescore":
            self._rescored += 1
        self._phase, self._number = _next(progress, self._settings)
        if self._history is not None:
            judged = self._judged.taken(progress.phase)
            self.along_the_way.told(progress, self._history(), {index: each.frames for index, each in judged.items()})
            self._live.told(progress, judged)
            self._show(self._position.share)
        self._say()

    def ends(self) -> None:
        """Everything is done, perhaps before its time."""
        self._phase = "done"
        self._show(1.0)
        self._say(now=True)

    def _add(self, units: float) -> None:
        self._position.add(units)
        self._say()

    def _show(self, share: float) -> None:
        """So much is done; with a preview, where one is due and the run's time allows it."""
        history = self._history
        due = history is not None and self._live.changed
        self._bar.to(share, (lambda: self._live.draw(history())) if history is not None and due else None)

    def _say(self, now: bool = False) -> None:
        history = self._history
        if history is None:
            return
        text, phase, number, share = self._text, self._phase, self._number, self._position.share
        text.say(lambda: status(history(), self._settings, phase, number, share=share, seconds=text.seconds), now)


def _next(progress: Progress, settings: Settings) -> tuple[str, int]:
    """Phase and number of what comes after what is done."""
    if progress.phase == "search":
        return ("search", progress.iteration + 1) if progress.iteration + 1 < settings.best_of else ("optimize", 0)
    if progress.phase == "optimize" and progress.iteration < settings.iterations:
        return "optimize", progress.iteration + 1
    return "rescore", 0
