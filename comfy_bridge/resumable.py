"""A sampler's run that can be left off after some steps and taken up again, to the same bits as in one go.

The model's answers are kept, and given again to a run that starts anew. A sampler is a function of its noise, its seed and the model's
answers, so it comes to the same place without a call of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
from torch import Tensor

from .model_state import ModelState
from .noise_to_latent import RandomState


class LeftOff(Exception):
    """A run has made the steps that were asked for. Passes through ComfyUI as a canceled run does."""


class Resumable(comfy.samplers.Sampler):
    """A SAMPLER that leaves off after ``until`` steps by raising :class:`LeftOff`.

    Args:
        sampler: whose run this is.
        keep_answers: whether it is to be taken up again: without, nothing is kept.

    Attributes:
        until: steps of the schedule after which to leave off; ``None`` for none.
        estimate: what the model last took for the clean latent, in the model's space, ``(B, ...)``.
        remembering: who keeps something from one call of the model to the next; with any, a run cannot be taken up again.
        steps: that were made so far with calls of the model, in all.
    """

    def __init__(self, sampler: comfy.samplers.Sampler, *, keep_answers: bool) -> None:
        self.sampler, self.keep_answers = sampler, keep_answers
        self.until: int | None = None
        self.estimate: Tensor | None = None
        self.remembering: set[str] = set()
        self.steps = 0
        self._answers: list[Tensor] = []
        self._random_state: RandomState | None = None

    def sample(  # noqa: PLR0917  (core's signature)
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable[..., None] | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """What ComfyUI calls. Raises :class:`LeftOff` after ``until`` steps."""
        done = self.steps

        def after(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            self.steps = max(self.steps, step + 1)
            if callback is not None and step >= done:
                callback(step, denoised, x, total)
            if self.until is not None and step + 1 >= self.until:
                self.estimate = denoised.detach().clone()
                raise LeftOff

        # A copy, since samplers write into it, which is no memory of the model's.
        rest = (dict(extra_args), after, noise, latent_image, denoise_mask, disable_pbar)
        if not self.keep_answers:
            return self.sampler.sample(model_wrap, sigmas, *rest)  # type: ignore[call-arg]
        self._random_state = self._random_state or RandomState(sigmas.device)
        self._random_state.restore()  # for samplers that draw from the global generators
        state = ModelState(model_wrap, self.sampler, extra_args)
        try:
            return self.sampler.sample(_Recorded(model_wrap, self._answers), sigmas, *rest)  # type: ignore[call-arg]
        finally:
            self.remembering.update(state.changed())

    def forget(self) -> None:
        """Give the memory back: the run is not taken up again."""
        self._answers.clear()


class _Recorded:
    """A sampler's model that gives the answers it gave before, then goes on."""

    def __init__(self, model: Any, answers: list[Tensor]) -> None:
        self._model, self._answers = model, answers
        self._given = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self._given == len(self._answers):
            self._answers.append(self._model(x, *args, **kwargs).detach().to("cpu", copy=True))
        self._given += 1
        return self._answers[self._given - 1].to(x.device, copy=True)
