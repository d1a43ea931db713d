"""One attempt at optimizing: the functions that the loop wants, with ComfyUI's memory, progress and cancel button behind them."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import comfy.model_management
import torch
from torch import Tensor

from ..guidance.objective import Context, Objective, remarks_of, salient_maps_of
from ..latent_optimization.autograd_mode import GradientMode
from ..latent_optimization.candidates import Candidate
from ..latent_optimization.checkpointed_calls import call_kind, checkpointed_blocks
from ..latent_optimization.frames import Frames
from ..latent_optimization.optimize import Result, optimize
from ..latent_optimization.recorder import Progress, Recorder
from ..latent_optimization.repeated_run import RepeatedRun
from ..latent_optimization.saved_tensors import WrittenLater, learned_of
from ..latent_optimization.settings import Settings
from ..latent_optimization.stored_calls import StoredCalls
from ..latent_optimization.top_k import TopK
from ..latent_optimization.work import Work
from ..numerics.given_gradient import with_gradient
from . import memory
from .decoding_steps import told_of_blocks
from .frame_scores import mean_over_frames
from .latent_parts import Parts
from .model_state import ModelState
from .noise_to_latent import NoiseToLatent
from .noises_at_once import noises_at_once
from .run_progress import RunProgress
from .top_images import candidates_of
from .vae import decode_with_grad, decoding_bytes

T = TypeVar("T")


class Optimization:
    """Noise to latent by the user's sampler, latent to image by their VAE, image to loss by the objective.

    Where memory runs out, what ran out is done again with less, and the run goes on: fewer model calls stored, then none, then each block
    of the model checkpointed as well.

    Args:
        model_wrap: the guider that ComfyUI hands to samplers, its models loaded.
        run: makes the sampler's run; takes ``before_call`` and ``copy_constants``, see :class:`NoiseToLatent`.
        objective: judges images.
        vae: decodes latents.
        held_out: another that is only asked, before and after; ``None`` for none.
        top_k: how many images of each of the batch are kept, the one that is returned among them.
        state: what the model remembers between calls, put back when the attempt ends.
        stored_calls: how many of the last model calls keep their activations; ``None``: as many as there is memory for.
        scores_both: the run returns coupled pairs ``(B, 2, ...)``, whose losses are averaged.
        parts: what of the run's noise and latents is one image or video.
        frames: which of a video's frames are scored.
        progress: told of what is done.
        afterwards: model calls that come after this.

    Attributes:
        frames_scored: how many of each video; 1 for images.
        top: of each image those kept, the one that is returned first; empty where that is all.
    """

    def __init__(
        self,
        model_wrap: Any,
        run: Callable[..., NoiseToLatent],
        objective: Objective,
        vae: Any,
        *,
        held_out: Objective | None = None,
        top_k: int = 1,
        state: ModelState,
        stored_calls: int | None,
        scores_both: bool,
        parts: Parts,
        frames: Frames,
        progress: RunProgress,
        afterwards: bool,
    ) -> None:
        self._base_model = model_wrap.inner_model
        self._patcher = model_wrap.model_patcher
        self._models = [self._patcher, *getattr(model_wrap, "loaded_models", [])]
        self._objective, self._held_out, self._vae = objective, held_out, vae
        self._fine, self._scores_both = False, scores_both
        self._parts, self._frames = parts, frames
        self.frames_scored, self._top_k, self.top = 1, top_k, list[list[Candidate]]()
        is_dynamic = getattr(self._patcher, "is_dynamic", None)
        self._state = state
        copy_constants = state.changes_weights or bool(is_dynamic is not None and is_dynamic())
        self._stored = StoredCalls(stored_calls, self._room)
        self._progress, self._afterwards = progress, afterwards
        in_turn = {"before_call": self._before_call, "in_backward": progress.in_backward}
        self._run = run(copy_constants=copy_constants, stored=self._stored, **in_turn)
        self._repeated = RepeatedRun(self._run, self._as_memory_allows)
        self._decoder_bytes, self._one_by_one = 0.0, False
        self._within = contextlib.ExitStack()
        self._as_inference = torch.is_inference_mode_enabled()
        self._models_may_be_elsewhere = True  # loaded for a forward pass: ask again, with what backward needs
        self._loaded = 0
        self._last_decoded: tuple[Tensor, Tensor] | None = None

    def execute(self, noise: Tensor, settings: Settings) -> Result:
        """Optimize, with everything put back afterwards, whatever happens."""
        self._sampled_shape = noise.shape
        self._reserve = memory.estimate(self._base_model, noise.shape, fine=False)
        noise = self._parts.noise(noise)
        self._batch_size = len(noise)
        recorder = Recorder(self._on_progress, lambda: self._run.calls)
        self._forget()
        calls = self._calls_of_a_run(noise)
        asked, afterwards = self._held_out is not None, calls if self._afterwards else 0
        looks: dict[str, Any] = {
            "held_out": asked,
            "top_k": self._top_k,
            "afterwards": afterwards,
            "latents": 2 if self._scores_both else 1,
        }
        carried = self._run.carried(calls)
        stored = self._stored_by_now(self._parts.whole_noise(noise), carried)
        work = Work(settings, self._batch_size, calls, carried, stored=stored, **looks)
        try:
            with memory.gradient_settings(self._patcher), self._within, torch.inference_mode(False):
                own = noise.clone() if noise.is_inference() else noise
                held_out = None if self._held_out is None else partial(self._evaluate, objective=self._held_out)
                self._progress.begin(work, lambda: recorder.history)
                told: dict[str, Any] = {"seed": self._run.seed, "recorder": recorder, "held_out": held_out, "at_once": self._at_once}
                result = optimize(own, self._generate, self._evaluate, settings, top=TopK(self._top_k), **told)
                result.messages[:0] = remarks_of(self._objective)  # before it is to forget the run
                self.top = candidates_of(result.top, lambda latent: self._returned(latent.to(own.device)), self._shown)
                return result
        finally:
            self._forget()
            self._last_decoded = None
            memory.load(self._models, 0, self._as_inference)
            self._state.restore()

    def _forget(self) -> None:
        for objective in (self._objective, self._held_out):
            if objective is not None:
                objective.begin()

    def _calls_of_a_run(self, noise: Tensor) -> int:
        """Model calls of one run, for the bar alone; the steps, where a sampler cannot be run on a model that answers zero."""
        try:
            return max(1, self._run.tried_calls(self._parts.whole_noise(noise)))
        except Exception:
            logging.debug("SGOOL: the sampler's model calls cannot be counted beforehand.", exc_info=True)
            return self._run.steps

    def _generate(self, noise: Tensor) -> Tensor:
        self._progress.run_begins()
        if len(noise) > self._batch_size:
            latent = self._several(noise)
        else:
            whole = self._parts.whole_noise(noise)
            self._foresee(whole)
            latent = self._parts.latents(self._repeated(whole))
            self._foresee(whole)  # of a model's first run, it is known only now: backward begins with another run
        self._progress.run_ends()
        return latent

    def _several(self, noise: Tensor) -> Tensor:
        """Of several noises of each image at once; one after another from where memory does not suffice."""
        try:
            return self._run(noise)
        except Exception as error:
            if not memory.ran_out(error):
                raise
        logging.warning("SGOOL: out of memory; the search samples one noise after another from here on.")
        self._one_by_one = True
        gc.collect()
        comfy.model_management.soft_empty_cache()
        return torch.cat([self._generate(each) for each in noise.split(self._batch_size)])

    def _at_once(self) -> int:
        """How many noises of each image a search samples together."""
        return 1 if self._one_by_one else noises_at_once(self._run, self._parts, self._sampled_shape)

    def _evaluate(
        self, latent: Tensor, index: int, iteration: int, generator: torch.Generator | None, objective: Objective | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and parts of one image's latent as the sampler leaves it; of a coupled pair ``(1, 2, ...)`` the mean of both."""
        before = None if generator is None else generator.get_state()
        context = Context(iteration, generator, index, self._batch_size)

        def attempt() -> tuple[Tensor, dict[str, Tensor]]:
            if generator is not None and before is not None:
                generator.set_state(before)
            return self._with_gradient(latent, context, objective or self._objective)

        return self._as_memory_allows(attempt)

    def _with_gradient(self, latent: Tensor, context: Context, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses, their gradient in the latent taken here, where memory may run out and the objective can be asked again."""
        if not (latent.requires_grad and torch.is_grad_enabled()):
            return self._losses(self._parts.sampled(latent), context, objective)
        leaf = latent.detach().requires_grad_()
        losses, parts = self._losses(self._parts.sampled(leaf), context, objective)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf, allow_unused=True) if losses.requires_grad else (None,)
        self._progress.score_in_backward.ends()
        return (losses if gradient is None else with_gradient(losses.detach(), latent, gradient)), parts

    def _losses(self, latent: Tensor, context: Context, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
        if not self._scores_both:
            return self._judged(latent, context, objective)
        judged = [self._judged(one, context, objective) for one in latent.unbind(1)]
        losses = torch.stack([losses for losses, _ in judged]).mean(dim=0)
        return losses, {name: torch.stack([parts[name] for _, parts in judged]).mean(dim=0) for name in judged[0][1]}

    def _judged(self, latent: Tensor, context: Context, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._models_may_be_elsewhere = True
        with_grad = latent.requires_grad and torch.is_grad_enabled()
        images = self._decoded(latent, with_grad)
        self._progress.decoding.ends()
        self.frames_scored = len(images)
        scored = mean_over_frames(objective, images, context, comfy.model_management.throw_exception_if_processing_interrupted)
        self._progress.scored()
        self._progress.judged(context.index, images, salient_maps_of(self._objective))
        return scored.losses, scored.parts

    def _returned(self, latent: Tensor) -> Tensor:
        """What the sampler returned, of one entry's ``latent (1, ...)``; of a coupled pair the first, which is the image."""
        sampled = self._parts.sampled(latent)
        return sampled[:, 0] if self._scores_both else sampled

    def _shown(self, latent: Tensor) -> Tensor:
        with torch.no_grad():
            images = self._as_memory_allows(lambda: self._decoded(latent, with_grad=False))
        self._progress.decoding.ends()
        return images

    def _decoded(self, latent: Tensor, with_grad: bool) -> Tensor:
        """Images of a latent. One that is scored several times in a row, with other augmentations, is decoded once."""
        if not with_grad and self._last_decoded is not None and torch.equal(self._last_decoded[0], latent):
            return self._last_decoded[1]
        with GradientMode() if with_grad else contextlib.nullcontext():
            space = self._parts.for_decoder(self._base_model.process_latent_out(latent))
        several = self._parts.frames_are_batch
        if with_grad:
            self._decoder_bytes = decoding_bytes(self._vae, space, self._frames, frames_are_batch=several)
        progress = self._progress
        with told_of_blocks(self._vae, progress.decoding.tick, progress.score_in_backward.tick):
            images = decode_with_grad(self._vae, space, self._as_inference, self._fine, self._frames, frames_are_batch=several)
        self._last_decoded = None if with_grad else (latent.clone(), images)
        return images

    def _room(self) -> float:
        """Bytes that stored activations may take, with what decoding and one more model call need left free."""
        return memory.room(self._patcher.load_device, max(self._reserve, self._decoder_bytes))

    def _as_memory_allows(self, attempt: Callable[[], T]) -> T:
        """``attempt()``, again with less each time that memory runs out. Raises what it raised where nothing is left to do without."""
        while True:
            try:
                return attempt()
            except Exception as error:
                overwritten = isinstance(error, WrittenLater)
                if not (overwritten or memory.ran_out(error)) or not self._with_less(overwritten):
                    raise
            # Outside the except block, where the error still holds on to the memory.
            gc.collect()
            comfy.model_management.soft_empty_cache()

    def _foresee(self, noise: Tensor) -> None:
        """Checkpoint blocks before memory runs out, where what one call keeps cannot fit beside the weights."""
        if self._fine or not noise.requires_grad:
            return
        kept = learned_of(self._run.model).kept_bytes.get(call_kind(noise), 0)
        if memory.never_fits(kept, self._models[:1], self._patcher.load_device):
            logging.info("SGOOL: a model call keeps %.1f GB, more than fits: each of its blocks is checkpointed.", kept / 1e9)
            self._stored.none()
            self._checkpoint_blocks()
            self._repeated.release()

    def _stored_by_now(self, noise: Tensor, carried: int) -> int:
        """How many of ``carried`` calls with gradient a run from the sampler's ``noise`` would store now, as far as the model is known."""
        self._stored.begin()
        self._stored.decide(learned_of(self._run.model).of_a_call(call_kind(noise)), carried)
        stored = self._stored.number
        self._stored.begin()
        return stored

    def _with_less(self, overwritten: bool) -> bool:
        """One step down the ladder of docs/memory.md, from here to the end of the run. Returns whether there was one."""
        if overwritten:
            had = self._stored.keeps_anything
            self._stored.none()
            self._repeated.release()
            return had
        if self._stored.less():
            logging.warning("SGOOL: out of memory; at most %d model calls are stored from here on.", self._stored.number)
        elif not self._fine:
            logging.warning("SGOOL: out of memory; each block of the model is checkpointed from here on.")
            self._checkpoint_blocks()
        else:
            return False
        self._repeated.release()
        return True

    def _checkpoint_blocks(self) -> None:
        self._fine = True
        self._reserve = memory.estimate(self._base_model, self._sampled_shape, fine=True)
        self._within.enter_context(memory.one_at_a_time(self._patcher))
        network = getattr(self._base_model, "diffusion_model", None)
        # Not where weights change within a call: a block computed again in backward would find those of the call's end.
        if network is not None and not self._state.changes_weights:
            self._within.enter_context(checkpointed_blocks(network))

    def _before_call(self) -> None:
        """Before each model call, also before one that backward computes again, where it may be another thread."""
        with torch._C.DisableTorchFunction():
            comfy.model_management.throw_exception_if_processing_interrupted()
            if self._models_may_be_elsewhere or memory.how_many_loaded(self._models) < self._loaded:
                memory.load(self._models, self._reserve, self._as_inference)
                self._models_may_be_elsewhere, self._loaded = False, memory.how_many_loaded(self._models)
            self._progress.call_begins()

    def _on_progress(self, progress: Progress) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._progress.told(progress)
