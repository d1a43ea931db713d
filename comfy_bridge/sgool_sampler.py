"""SGOOL as a SAMPLER that wraps a SAMPLER: a sampler maps noise to a latent, and so does this one, after improving the noise."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ..guidance.objective import Context, Objective
from ..latent_optimization.autograd_mode import GradientMode
from ..latent_optimization.checkpointed_calls import checkpointed_blocks
from ..latent_optimization.history import History
from ..latent_optimization.optimize import Progress, Result, optimize
from ..latent_optimization.presets import Settings
from . import memory, procedure
from .noise_to_latent import NoiseToLatent, gradient_is_approximate
from .preview import to_preview
from .vae import NO_VAE, check_vae, decode_with_grad

APPROXIMATE = (
    "This sampler chooses its steps from the latent, and gradients cannot follow that choice: they are approximate. "
    "A sampler of fixed steps (euler, dpmpp_2m...) gives exact ones."
)

KEPT_START = "The sampler starts from an inverted image, so no other noises were tried (best_of)."


@dataclass
class Outcome:
    """What a run has to say besides its latent.

    Attributes:
        noise: ``(B, ...)`` float32 on the CPU: from this noise, the wrapped sampler alone gives the latent that was returned.
        history: the numbers of the run.
        messages: sentences for the user.
    """

    noise: Tensor
    history: History
    messages: list[str] = field(default_factory=list)

    def to_text(self) -> str:
        """Messages and tables."""
        return "\n\n".join([*self.messages, self.history.to_text()])


class SGOOLSampler(comfy.samplers.Sampler):
    """Optimize the noise for an objective, then sample from it with ``sampler``.

    Works with any guider, model, LoRA, ControlNet, schedule, mask and noise that ``sampler`` works with; see the README.
    With 0 iterations and ``best_of`` 1 it is ``sampler``, bit for bit.

    Args:
        sampler: any SAMPLER but another of these.
        objective: judges decoded images; may be ``None`` only where nothing is optimized.
        vae: decodes latents to images; as ``objective``.
        settings: see latent_optimization/presets.py. Of a procedure in it the cutouts are taken, in a copy of ``objective``; where
            sampler, steps or guidance scale are not the procedure's, the run says so.

    Raises:
        ValueError: if something is missing that the settings need, or ``sampler`` is an SGOOLSampler.
    """

    def __init__(self, sampler: comfy.samplers.Sampler, objective: Objective | None, vae: Any, settings: Settings) -> None:
        if isinstance(sampler, SGOOLSampler):
            raise ValueError("This sampler optimizes already. Connect an ordinary one (KSamplerSelect), and combine objectives instead.")
        if not isinstance(sampler, comfy.samplers.Sampler):
            raise ValueError(f"Expected a SAMPLER, got {type(sampler).__name__}. Connect a KSamplerSelect or another sampler node.")
        keeps_start = settings.best_of > 1 and getattr(sampler, "pair", None) is not None
        if keeps_start:
            settings = replace(settings, best_of=1)
        self.optimizes = settings.iterations > 0 or settings.best_of > 1
        if self.optimizes and objective is None:
            raise ValueError("There is no objective: connect one (such as Saliency CLIP Loss), or set iterations to 0 to sample plainly.")
        if self.optimizes and vae is None:
            raise ValueError(NO_VAE)
        self.sampler = sampler
        self.objective, self._remarks = objective, list[str]()
        if self.optimizes and objective is not None and settings.procedure is not None:
            self.objective, self._remarks = procedure.objective_for(settings.procedure, objective)
        if keeps_start:
            self._remarks.append(KEPT_START)
        self.vae = vae
        self.settings = settings
        self.outcome: Outcome | None = None

    @property
    def judges_both(self) -> bool:
        """Whether two coupled latents of an image are judged."""
        return self.settings.judge_both and bool(getattr(self.sampler, "coupled", False))

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
        """What ComfyUI calls; returns the latent in the model's space, as any sampler does. Leaves what else there is in ``outcome``."""
        self.outcome = None
        run = NoiseToLatent(self.sampler, model_wrap, sigmas, extra_args, latent_image, denoise_mask, schedule=self.settings.jacobian)
        if not self.optimizes or len(sigmas) < 2:
            latent = run.plain(noise, callback, disable_pbar)
            self.outcome = Outcome(_to_keep(noise), History(len(noise), noise[0].numel(), {}), ["Nothing was optimized."])
            return latent
        if noise.ndim not in (4, 5):
            raise ValueError(
                f"This model's latent is no image's: its shape in the sampler is {tuple(noise.shape)} (sound, or several parts in one). "
                "SGOOL optimizes latents of images and videos; set iterations to 0 to sample plainly."
            )
        channels = model_wrap.inner_model.latent_format.latent_channels
        check_latent(noise, channels)
        check_vae(self.vae, channels)
        try:
            result = _Optimization(self, model_wrap, run, fine=False).execute(noise)
        except Exception as error:
            if not comfy.model_management.is_oom(error):
                raise
            result = None
        if result is None:  # outside the except block, where the error still holds on to the memory
            result = self._second_attempt(model_wrap, run, noise)
        messages = [*([APPROXIMATE] if gradient_is_approximate(self.sampler) else []), *self._remarks, *result.messages]
        if self.settings.procedure is not None:
            differs = procedure.difference(self.settings.procedure, self.sampler, len(sigmas) - 1, model_wrap)
            messages += [] if differs is None else [differs]
        self.outcome = Outcome(_to_keep(result.noise), result.history, messages)
        for message in messages:
            logging.info("SGOOL: %s", message)
        return run.plain(result.noise, callback, disable_pbar)

    def _second_attempt(self, model_wrap: Any, run: NoiseToLatent, noise: Tensor) -> Result:
        logging.warning("SGOOL: out of memory; starting again with each block of the model checkpointed.")
        comfy.model_management.soft_empty_cache()
        try:
            return _Optimization(self, model_wrap, run, fine=True).execute(noise)
        except Exception as error:
            if not comfy.model_management.is_oom(error):
                raise
        comfy.model_management.soft_empty_cache()
        raise RuntimeError(too_large(noise, self.settings))


def too_large(noise: Tensor, settings: Settings) -> str:
    """The sentence for a run that does not fit on the device, with what would make it smaller."""
    smaller = []
    if len(noise) > 1:
        smaller.append(f"a batch of 1 instead of {len(noise)}")
    smaller.append(f"a latent smaller than {'x'.join(map(str, noise.shape[2:]))}")
    if settings.jacobian.choice != "last" or settings.jacobian.count > 1:
        smaller.append("gradients through the last model call only (SGOOL Settings: gradient_calls 'last', 1)")
    if settings.procedure is not None:
        smaller.append("fewer augmentations of the image (SGOOL Settings: procedure 'sampler and objective nodes')")
    smaller.append("a smaller scorer")
    return f"Out of memory, also with every block checkpointed. What would help, in this order: {'; '.join(smaller)}; or iterations 0."


def _to_keep(noise: Tensor) -> Tensor:
    return noise.detach().to("cpu", torch.float32).clone()


class _Optimization:
    """One attempt at one run: the functions that ``optimize`` wants, and ComfyUI's memory, progress and cancel button behind them."""

    def __init__(self, owner: SGOOLSampler, model_wrap: Any, run: NoiseToLatent, fine: bool) -> None:
        assert owner.objective is not None
        self.objective = owner.objective
        self.vae = owner.vae
        self.settings = owner.settings
        self.run = run
        self.run.both = owner.judges_both
        self.fine = fine
        self.base_model = model_wrap.inner_model
        self.patcher = model_wrap.model_patcher
        self.models = [self.patcher, *getattr(model_wrap, "loaded_models", [])]
        self.as_inference = torch.is_inference_mode_enabled()
        self.models_may_be_elsewhere = False
        self.images: dict[int, Tensor] = {}
        self.last_decoded: tuple[Tensor, Tensor] | None = None
        self.steps = max(1, len(run.sigmas) - 1)
        self.bar = comfy.utils.ProgressBar(self.steps)
        self.runs_done, self.runs_expected, self.calls_before = 0, 1, 0

    def execute(self, noise: Tensor) -> Result:
        """Optimize, with everything put back afterwards, whatever happens."""
        run = self.run
        self.batch_size = len(noise)
        self.objective.begin()
        self.reserve = memory.estimate(self.base_model, noise.shape, self.fine)
        run.calls = self.calls_before = 0
        run.before_call = self._before_call
        is_dynamic = getattr(self.patcher, "is_dynamic", None)
        run.copy_constants = bool(is_dynamic is not None and is_dynamic())
        network = getattr(self.base_model, "diffusion_model", None)
        blocks = checkpointed_blocks(network) if self.fine and network is not None else contextlib.nullcontext()
        self.models_may_be_elsewhere = True  # loaded for a forward pass: ask again, with what backward needs
        try:
            with memory.gradient_settings(self.patcher, self.fine), blocks, torch.inference_mode(False):
                return optimize(
                    noise.clone() if noise.is_inference() else noise,
                    self.generate,
                    self.evaluate,
                    self.settings,
                    generators=self._generators(len(noise)),
                    on_iteration=self._on_iteration,
                    count_model_calls=lambda: run.calls,
                )
        finally:
            run.before_call = None
            self.objective.begin()
            self.images.clear()
            self.last_decoded = None
            memory.load(self.models, 0, self.as_inference)

    def generate(self, noise: Tensor) -> Tensor:
        """Noise to latent, both as the sampler has them."""
        self.calls_before = self.run.calls
        self.calls_now = 0
        return self.run(noise)

    def evaluate(
        self, latent: Tensor, iteration: int, generator: torch.Generator | None, indices: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses and parts of latents as the sampler leaves them; of a coupled pair ``(1, 2, ...)`` the mean of both."""
        if not self.run.both:
            return self._judge(latent, iteration, generator, indices)
        judged = [self._judge(one, iteration, generator, indices) for one in latent.unbind(1)]
        losses = torch.stack([losses for losses, _ in judged]).mean(dim=0)
        return losses, {name: torch.stack([parts[name] for _, parts in judged]).mean(dim=0) for name in judged[0][1]}

    def _judge(
        self, latent: Tensor, iteration: int, generator: torch.Generator | None, indices: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.models_may_be_elsewhere = True
        with_grad = latent.requires_grad and torch.is_grad_enabled()
        images = self._decoded(latent, with_grad)
        for index, image in zip(indices.tolist(), images.detach(), strict=True):
            self.images[index] = image.cpu()
        with GradientMode() if with_grad else contextlib.nullcontext():
            scored = self.objective(images, Context(iteration, generator, indices, self.batch_size))
        return scored.losses, scored.parts

    def _decoded(self, latent: Tensor, with_grad: bool) -> Tensor:
        """Images of a latent. One that is scored several times in a row, with other augmentations, is decoded once."""
        if not with_grad and self.last_decoded is not None and torch.equal(self.last_decoded[0], latent):
            return self.last_decoded[1]
        with GradientMode() if with_grad else contextlib.nullcontext():
            space = self.base_model.process_latent_out(latent)
        images = decode_with_grad(self.vae, space, self.as_inference, self.fine)
        self.last_decoded = None if with_grad else (latent.clone(), images)
        return images

    def _generators(self, batch: int) -> list[torch.Generator]:
        seed = self.run.extra_args.get("seed") or 0
        return [torch.Generator().manual_seed((int(seed) + index) % 2**63) for index in range(batch)]

    def _before_call(self) -> None:
        """Before each model call, also before one that backward computes again, where it may be another thread."""
        with torch._C.DisableTorchFunction():
            comfy.model_management.throw_exception_if_processing_interrupted()
            if self.models_may_be_elsewhere:
                memory.load(self.models, self.reserve, self.as_inference)
                self.models_may_be_elsewhere = False
            self.calls_now += 1
            done = min(self.calls_now, self.steps)
            self.bar.update_absolute(self.runs_done * self.steps + done, self.runs_expected * self.steps)

    def _on_iteration(self, progress: Progress) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.runs_done, self.runs_expected = progress.sampler_runs, progress.expected_sampler_runs
        shown = [image for _, image in sorted(self.images.items())]
        self.bar.update_absolute(self.runs_done * self.steps, self.runs_expected * self.steps, to_preview(shown))


def check_latent(latent: Tensor, channels: int) -> None:
    """See that ``latent`` is one for a model whose latents have ``channels`` channels. Raises ``ValueError`` with a sentence."""
    if latent.shape[1] != channels:
        raise ValueError(
            f"The latent has {latent.shape[1]} channels, but this model's latents have {channels}: it is of another model. "
            "Encode the image with the VAE of this model (VAE Encode), or connect an empty latent."
        )


def check_vae_for(model: Any, vae: Any) -> None:
    """See that ``vae`` decodes the latents of ``model`` (a MODEL). Raises ``ValueError`` with a sentence."""
    check_vae(vae, model.get_model_object("latent_format").latent_channels)
