"""One attempt at optimizing: the functions that the loop wants, with ComfyUI's memory, progress and cancel button behind them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ..guidance.objective import Context, Objective
from ..latent_optimization.autograd_mode import GradientMode
from ..latent_optimization.checkpointed_calls import checkpointed_blocks
from ..latent_optimization.frames import Frames
from ..latent_optimization.optimize import Result, optimize
from ..latent_optimization.recorder import Progress, Recorder
from ..latent_optimization.settings import Settings
from . import memory
from .frame_scores import mean_over_frames
from .latent_parts import Parts
from .model_state import ModelState
from .noise_to_latent import NoiseToLatent
from .preview import to_preview, to_shown
from .vae import decode_with_grad


class Optimization:
    """Noise to latent by the user's sampler, latent to image by their VAE, image to loss by the objective.

    Args:
        model_wrap: the guider that ComfyUI hands to samplers, its models loaded.
        run: makes the sampler's run; takes ``before_call`` and ``copy_constants``, see :class:`NoiseToLatent`.
        objective: judges images.
        vae: decodes latents.
        held_out: another that is only asked, before and after; ``None`` for none.
        state: what the model remembers between calls, put back when the attempt ends.
        fine: checkpoint each block of the model as well as each call.
        scores_both: the run returns coupled pairs ``(B, 2, ...)``, whose losses are averaged.
        parts: what of the run's noise and latents is one image or video.
        frames: which of a video's frames are scored.

    Attributes:
        frames_scored: how many of each video; 1 for images.
    """

    def __init__(
        self,
        model_wrap: Any,
        run: Callable[..., NoiseToLatent],
        objective: Objective,
        vae: Any,
        *,
        held_out: Objective | None = None,
        state: ModelState,
        fine: bool,
        scores_both: bool,
        parts: Parts,
        frames: Frames,
    ) -> None:
        self._base_model = model_wrap.inner_model
        self._patcher = model_wrap.model_patcher
        self._models = [self._patcher, *getattr(model_wrap, "loaded_models", [])]
        self._objective, self._held_out, self._vae = objective, held_out, vae
        self._fine, self._scores_both = fine, scores_both
        self._parts, self._frames = parts, frames
        self.frames_scored = 1
        is_dynamic = getattr(self._patcher, "is_dynamic", None)
        self._state = state
        copy_constants = state.changes_weights or bool(is_dynamic is not None and is_dynamic())
        self._run = run(before_call=self._before_call, copy_constants=copy_constants)
        self._as_inference = torch.is_inference_mode_enabled()
        self._models_may_be_elsewhere = True  # loaded for a forward pass: ask again, with what backward needs
        self._loaded = 0
        self._images: dict[int, Tensor] = {}
        self._last_decoded: tuple[Tensor, Tensor] | None = None
        self._steps = self._run.steps
        self._bar = comfy.utils.ProgressBar(self._steps)
        self._runs_done, self._runs_expected, self._calls_now = 0, 1, 0

    def execute(self, noise: Tensor, settings: Settings) -> Result:
        """Optimize, with everything put back afterwards, whatever happens."""
        self._reserve = memory.estimate(self._base_model, noise.shape, self._fine)
        noise = self._parts.noise(noise)
        self._batch_size = len(noise)
        network = getattr(self._base_model, "diffusion_model", None)
        # Not where weights change within a call: a block computed again in backward would find those of the call's end.
        by_block = self._fine and not self._state.changes_weights
        blocks = checkpointed_blocks(network) if by_block and network is not None else contextlib.nullcontext()
        recorder = Recorder(self._on_progress, lambda: self._run.calls)
        self._forget()
        try:
            with memory.gradient_settings(self._patcher, self._fine), blocks, torch.inference_mode(False):
                own = noise.clone() if noise.is_inference() else noise
                held_out = None if self._held_out is None else partial(self._evaluate, objective=self._held_out)
                told: dict[str, Any] = {"seed": self._run.seed, "recorder": recorder, "held_out": held_out}
                return optimize(own, self._generate, self._evaluate, settings, **told)
        finally:
            self._forget()
            self._images.clear()
            self._last_decoded = None
            memory.load(self._models, 0, self._as_inference)
            self._state.restore()

    def _forget(self) -> None:
        for objective in (self._objective, self._held_out):
            if objective is not None:
                objective.begin()

    def _generate(self, noise: Tensor) -> Tensor:
        self._calls_now = 0
        return self._parts.latents(self._run(self._parts.whole_noise(noise)))

    def _evaluate(
        self, latent: Tensor, index: int, iteration: int, generator: torch.Generator | None, objective: Objective | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and parts of one image's latent as the sampler leaves it; of a coupled pair ``(1, 2, ...)`` the mean of both."""
        latent, context = self._parts.sampled(latent), Context(iteration, generator, index, self._batch_size)
        if not self._scores_both:
            return self._judged(latent, context, objective or self._objective)
        judged = [self._judged(one, context, objective or self._objective) for one in latent.unbind(1)]
        losses = torch.stack([losses for losses, _ in judged]).mean(dim=0)
        return losses, {name: torch.stack([parts[name] for _, parts in judged]).mean(dim=0) for name in judged[0][1]}

    def _judged(self, latent: Tensor, context: Context, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._models_may_be_elsewhere = True
        with_grad = latent.requires_grad and torch.is_grad_enabled()
        images = self._decoded(latent, with_grad)
        self._images[context.index] = images[Frames().numbers(len(images))].detach().cpu()  # as many as a preview has room for
        self.frames_scored = len(images)
        scored = mean_over_frames(objective, images, context, comfy.model_management.throw_exception_if_processing_interrupted)
        return scored.losses, scored.parts

    def _decoded(self, latent: Tensor, with_grad: bool) -> Tensor:
        """Images of a latent. One that is scored several times in a row, with other augmentations, is decoded once."""
        if not with_grad and self._last_decoded is not None and torch.equal(self._last_decoded[0], latent):
            return self._last_decoded[1]
        with GradientMode() if with_grad else contextlib.nullcontext():
            space = self._parts.for_decoder(self._base_model.process_latent_out(latent))
        several = self._parts.frames_are_batch
        images = decode_with_grad(self._vae, space, self._as_inference, self._fine, self._frames, frames_are_batch=several)
        self._last_decoded = None if with_grad else (latent.clone(), images)
        return images

    def _before_call(self) -> None:
        """Before each model call, also before one that backward computes again, where it may be another thread."""
        with torch._C.DisableTorchFunction():
            comfy.model_management.throw_exception_if_processing_interrupted()
            if self._models_may_be_elsewhere or memory.how_many_loaded(self._models) < self._loaded:
                memory.load(self._models, self._reserve, self._as_inference)
                self._models_may_be_elsewhere, self._loaded = False, memory.how_many_loaded(self._models)
            self._calls_now += 1
            done = min(self._calls_now, self._steps)
            self._bar.update_absolute(self._runs_done * self._steps + done, self._runs_expected * self._steps)

    def _on_progress(self, progress: Progress) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._runs_done, self._runs_expected = progress.sampler_runs, progress.expected_sampler_runs
        shown = to_shown([images for _, images in sorted(self._images.items())])
        self._bar.update_absolute(self._runs_done * self._steps, self._runs_expected * self._steps, to_preview(shown))
