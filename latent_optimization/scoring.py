"""Asking the objective about latents, one image at a time.

One at a time because augmentations are drawn from one generator a call: so each image has its own, and gets what it would get alone. It
also keeps no more than one decoded image's graph alive. Images that have stopped cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .random_streams import Streams, copy_of
from .recorder import Recorder
from .score import Evaluate, Score
from .trajectory import Iterate


class Scorer:
    """The objective, asked about each image with that image's own augmentations.

    Args:
        evaluate: the objective; ``None`` where nobody judges: all scores are empty then.
        streams: of each image.
        recorder: counts the evaluations, and is told of what is rescored.
    """

    def __init__(self, evaluate: Evaluate | None, streams: Sequence[Streams], recorder: Recorder) -> None:
        self._evaluate = evaluate
        self._streams = streams
        self._recorder = recorder
        self._drawn_from: dict[int, torch.Generator] = {}

    def score(self, latent: Tensor, wanted: Sequence[bool], iteration: int, *, with_gradient: bool = False) -> list[Score]:
        """The score of each image of ``latent (B, ...)``, with new augmentations; an empty one for images that are not wanted."""
        generators = [each.augmentations for each in self._streams]
        self._drawn_from |= {index: copy_of(generators[index]) for index, each in enumerate(wanted) if each}
        return self._scores(latent, wanted, iteration, generators, with_gradient)

    def score_again(self, latent: Tensor, wanted: Sequence[bool], iteration: int, *, with_gradient: bool = False) -> list[Score]:
        """The score of each image's ``latent (B, ...)`` with the augmentations that :meth:`score` drew for it last."""
        generators = [copy_of(self._drawn_from[index]) if each else None for index, each in enumerate(wanted)]
        return self._scores(latent, wanted, iteration, generators, with_gradient)

    def score_candidate(self, latent: Tensor, wanted: Sequence[bool], augmented: bool) -> list[Score]:
        """The same for one noise of a search: without augmentations, or with the same ones for every candidate."""
        generators = [copy_of(each.augmentations) if augmented else None for each in self._streams]
        return self._scores(latent, wanted, 0, generators, False)

    def score_plainly(self, latent: Tensor, index: int, iteration: int = 0) -> Score:
        """The score of one image's ``latent (1, ...)`` without augmentations or gradient."""
        return self._one(latent, index, iteration, None, False)

    def rescore(self, count: int, like: Tensor) -> Callable[[int, Iterate], float]:
        """A function from an image's index and iterate to its mean loss over ``count`` fresh augmentations, the same for all its iterates.

        Latents are placed as ``like`` is.
        """

        def loss_of(index: int, iterate: Iterate) -> float:
            generator = copy_of(self._streams[index].rescoring)
            latent = iterate.latent[None].to(like)
            loss = sum(self._one(latent, index, 0, generator, False).loss for _ in range(count)) / count
            self._recorder.rescored(index, iterate.iteration, loss)
            return loss

        return loss_of

    def _scores(
        self, latent: Tensor, wanted: Sequence[bool], iteration: int, generators: Sequence[torch.Generator | None], with_gradient: bool
    ) -> list[Score]:
        return [
            self._one(latent[index : index + 1], index, iteration, generator, with_gradient) if judged else Score()
            for index, (judged, generator) in enumerate(zip(wanted, generators, strict=True))
        ]

    def _one(self, latent: Tensor, index: int, iteration: int, generator: torch.Generator | None, with_gradient: bool) -> Score:
        """Score one latent ``(1, ...)``. One that is not finite has the loss NaN without the objective being asked."""
        latent = latent.detach()
        latent = latent.to(torch.promote_types(latent.dtype, torch.float32))
        if self._evaluate is None or not bool(torch.isfinite(latent).all()):
            return Score()
        if not with_gradient:
            with torch.no_grad():
                return Score(*self._asked(latent, index, iteration, generator)[1:])
        with torch.inference_mode(False), torch.enable_grad():
            leaf = latent.requires_grad_()
            losses, loss, parts = self._asked(leaf, index, iteration, generator)
            if not losses.requires_grad:
                raise ValueError("The objective's loss has no gradient in the image, so it cannot be optimized; use another objective.")
            (gradient,) = torch.autograd.grad(losses.sum(), leaf, allow_unused=True)
        if gradient is None:
            raise ValueError("The objective's loss does not depend on the image, so it cannot be optimized; use another objective.")
        return Score(loss, parts, gradient.detach())

    def _asked(
        self, latent: Tensor, index: int, iteration: int, generator: torch.Generator | None
    ) -> tuple[Tensor, float, dict[str, float]]:
        assert self._evaluate is not None
        losses, parts = self._evaluate(latent, index, iteration, generator)
        self._recorder.evaluated()
        if losses.shape != (1,):
            shape = tuple(losses.shape)
            raise ValueError(f"The objective returned losses of shape {shape} for one image; expected (1,). Use another objective.")
        return losses, float(losses.detach()[0]), {name: float(values.reshape(-1)[0]) for name, values in parts.items()}
