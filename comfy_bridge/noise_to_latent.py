"""A ComfyUI sampler's run, as a differentiable function from noise to latent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_patcher
import comfy.samplers
import torch
from torch import Tensor

from ..latent_optimization.autograd_mode import GradientMode
from ..latent_optimization.checkpointed_calls import CheckpointedCalls, JacobianSchedule
from ..latent_optimization.random_state import RandomState
from ..latent_optimization.stored_calls import StoredCalls
from . import attention_without_backward, conditional_gradients
from .compiled import UncompiledGradients
from .model_state import ModelState

# These choose their steps from the state, by comparing numbers: autograd sees the steps taken, not how they were chosen.
APPROXIMATE = frozenset({"dpm_adaptive_function", "sample_dpm_adaptive"})


def gradient_is_approximate(sampler: comfy.samplers.Sampler) -> bool:
    """Whether the gradient through ``sampler`` is known not to be exact (it chooses its steps from the state)."""
    return getattr(getattr(sampler, "sampler_function", None), "__name__", "") in APPROXIMATE


class NoiseToLatent:
    """One sampler's run on a model that is loaded: ``noise -> latent``, both as ComfyUI hands them to ``Sampler.sample``.

    Args:
        sampler: the SAMPLER whose run this is.
        model: the guider, which a sampler calls as its denoiser.
        sigmas: ``(steps + 1,)``.
        extra_args: what ComfyUI passes on to the model (``model_options``, ``seed``); copied for each run, since samplers write into it.
        latent_image: the latent that noise is added to, or ``None``.
        denoise_mask: where it is changed, or ``None``.
        schedule: which model calls carry their Jacobian.
        use_checkpoint: recompute each model call in backward instead of keeping its activations.
        stored: which calls keep them all the same.
        copy_constants: see :class:`GradientMode`.
        before_call: run before each model call and each recomputation of one.
        in_backward: run in backward as it comes to each model call.
        both: return both latents of a sampler with a coupled pair, ``(B, 2, ...)``; only for samplers with ``sample_both``.
        random_state: what the global generators are set to before each run; as they are now where ``None``.
        model_state: what the model remembers is set to before each run; as it is now where ``None``.

    Attributes:
        sampler, model, sigmas, extra_args, latent_image, denoise_mask: as given.
        model_state: as given, or as it was when this was made.
        calls: model calls of all runs so far, without recomputations. One for several noises of each image counts as several.
    """

    def __init__(  # noqa: PLR0917  (in the order of core's Sampler.sample)
        self,
        sampler: comfy.samplers.Sampler,
        model: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        *,
        schedule: JacobianSchedule | None = None,
        use_checkpoint: bool = True,
        stored: StoredCalls | None = None,
        copy_constants: bool = False,
        before_call: Callable[[], None] | None = None,
        in_backward: Callable[[], None] | None = None,
        both: bool = False,
        random_state: RandomState | None = None,
        model_state: ModelState | None = None,
    ) -> None:
        self.sampler, self.model, self.sigmas, self.extra_args = sampler, model, sigmas, extra_args
        self.latent_image, self.denoise_mask = latent_image, denoise_mask
        self._schedule = schedule or JacobianSchedule()
        self._use_checkpoint, self._copy_constants = use_checkpoint, copy_constants
        self._before_call, self._in_backward, self._stored = before_call, in_backward, stored
        self._both = both
        self._random_state = random_state or RandomState(sigmas.device)
        self.model_state = model_state or ModelState(model, sampler, extra_args)
        self._calls_per_run: int | None = None
        self.calls = 0

    @property
    def steps(self) -> int:
        """Of the schedule, at least 1."""
        return max(1, len(self.sigmas) - 1)

    @property
    def seed(self) -> int:
        """That ComfyUI passes on with the run; 0 without one."""
        return int(self.extra_args.get("seed") or 0)

    def plain(self, noise: Tensor, callback: Callable[..., None] | None = None, disable_pbar: bool = True) -> Tensor:
        """Run the sampler exactly as ComfyUI would have, without any of our machinery in between. The calls are not counted."""
        self.begin()
        return self.sampler.sample(  # type: ignore[call-arg]
            self.model, self.sigmas, self.extra_args, callback, self._arranged(noise), self.latent_image, self.denoise_mask, disable_pbar
        )

    def __call__(self, noise: Tensor) -> Tensor:
        """Run the sampler; differentiable in ``noise`` where it requires a gradient.

        Call it outside inference mode. Draws the same random numbers each time, also where a sampler uses the global generators.
        """
        self.begin()
        if not noise.requires_grad:
            counted = _Counted(self.model, self._before_call)
            with torch.no_grad():
                latent = self._sample(counted, noise)
            self._finished(counted.calls, _times(self.latent_image, noise))
            return latent.clone() if latent.is_inference() else latent
        if self._stored is not None:
            self._stored.begin()
        mode = GradientMode(keep_history=True, copy_constants=self._copy_constants)
        calls = CheckpointedCalls(
            UncompiledGradients(self.model),
            self._schedule,
            self._expected_calls(noise),
            mode,
            before_call=self._before_call,
            in_backward=self._in_backward,
            use_checkpoint=self._use_checkpoint,
            stored=self._stored,
            state=self.model_state.note,
        )
        with torch.enable_grad(), mode:
            latent = self._sample(calls, noise.clone())  # a clone, since a leaf may not be written to
        self._finished(calls.calls)
        return latent

    def begin(self) -> None:
        """Put back what a run starts from: the random state, and what the model remembers."""
        self._random_state.restore()
        self.model_state.restore()

    def _finished(self, calls: int, noises: int = 1) -> None:
        self.calls += calls * noises
        self._calls_per_run = calls

    def _expected_calls(self, noise: Tensor) -> int:
        """How many model calls a run makes: what the last one made, else what the sampler makes of a model that answers zero.

        0 where that is not known yet and nothing depends on it.
        """
        if self._schedule.carries_all and (self._stored is None or not self._stored.counts_calls_first):
            return 0 if self._stored is None else self._calls_per_run or 0
        if self._calls_per_run is None:
            self._calls_per_run = self.tried_calls(noise)
        return self._calls_per_run

    def tried_calls(self, noise: Tensor) -> int:
        """How many calls the sampler makes of a model that answers zero, in a run that costs next to nothing."""
        silent = _Counted(self.model, None, answer=torch.zeros_like)
        with torch.no_grad():
            self._sample(silent, noise.detach())
        self._random_state.restore()
        return silent.calls

    def carried(self, calls: int) -> int:
        """How many of so many calls of a run carry their Jacobian."""
        return sum(self._schedule.carries(index, calls) for index in range(calls))

    def arguments(self, with_grad: bool) -> dict[str, Any]:
        """A copy of ``extra_args`` for one run, to be written into.

        With a gradient without MultiGPU's threads: what turns gradients on does so for this thread alone, and a call from another would
        silently have none. The devices then take turns.
        """
        extra_args = dict(self.extra_args)
        if "model_options" in extra_args:
            extra_args["model_options"] = comfy.model_patcher.create_model_options_clone(extra_args["model_options"])
            if with_grad:
                extra_args["model_options"].pop("multigpu_thread_pool", None)
                attention_without_backward.add_to(extra_args["model_options"])
        if with_grad and self._schedule.choice == "conditional":
            conditional_gradients.add_to(extra_args.setdefault("model_options", {}), self.model)
        return extra_args

    def _arranged(self, noise: Tensor) -> Tensor:
        """``noise`` as core's FreeNoise (Context Windows) arranges it: frames beyond the first window repeat earlier ones.

        Core does so before it calls a sampler; here for noises that came into being since. Twice is the same as once.
        """
        handler = self.extra_args.get("model_options", {}).get("context_handler")
        if not getattr(handler, "freenoise", False):
            return noise
        conds = self.model.conds.get("positive", self.model.conds.get("negative", []))
        return handler._apply_freenoise(noise.clone(), [conds], self.extra_args["seed"])  # type: ignore[union-attr]

    def _sample(self, model: Any, noise: Tensor) -> Tensor:
        extra_args, noise = self.arguments(noise.requires_grad), self._arranged(noise)
        latent_image, denoise_mask = _as_often(self.latent_image, noise), _as_often(self.denoise_mask, noise)
        if self._both:
            return self.sampler.sample_both(  # type: ignore[attr-defined]
                model, self.sigmas.clone(), extra_args, noise, latent_image, denoise_mask
            )
        # uni_pc writes into its sigmas: each run has its own.
        return self.sampler.sample(  # type: ignore[call-arg]
            model, self.sigmas.clone(), extra_args, None, noise, latent_image, denoise_mask, True
        )


def _times(given: Tensor | None, noise: Tensor) -> int:
    """How many noises of each image there are beside ``given``, which is of one batch, or one number for all."""
    return 1 if given is None or given.ndim == 0 else max(1, len(noise) // len(given))


def _as_often(given: Tensor | None, noise: Tensor) -> Tensor | None:
    """``given`` for a batch of several noises of each image."""
    several = _times(given, noise)
    return given if given is None or several <= 1 else given.repeat(several, *[1] * (given.ndim - 1))


class _Counted:
    """A sampler's model that counts its calls."""

    def __init__(self, model: Any, before_call: Callable[[], None] | None, answer: Callable[[Tensor], Tensor] | None = None) -> None:
        self._model = model
        self._before_call = before_call
        self._answer = answer
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.calls += 1
        if self._before_call is not None:
            self._before_call()
        return self._model(x, *args, **kwargs) if self._answer is None else self._answer(x)
