"""SGOOL as a SAMPLER that wraps a SAMPLER: a sampler maps noise to a latent, and so does this one, after improving the noise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ..guidance.objective import Objective
from ..latent_optimization.candidates import Candidate
from ..latent_optimization.history import History
from ..latent_optimization.optimize import Result
from ..latent_optimization.presets import CHECK_NEVER, Preset
from ..latent_optimization.random_state import RandomState
from . import memory, procedure, self_check
from .compiled import COMPILED, is_compiled
from .latent_parts import Parts, parts_of
from .model_state import ModelState
from .noise_to_latent import NoiseToLatent, gradient_is_approximate
from .optimization import Optimization
from .outcome import Outcome, Outcomes
from .progress import Bar, Text
from .run_progress import RunProgress
from .suitability import check_fits, model_remarks
from .vae import NO_VAE

APPROXIMATE = (
    "This sampler chooses its steps from the latent, and gradients cannot follow that choice: they are approximate. "
    "A sampler of fixed steps (euler, dpmpp_2m...) gives exact ones."
)
KEPT_START = "The sampler starts from an inverted image, so no other noises were tried (best_of)."
LAST_RUN = (
    "This schedule ends above sigma 0, where a latent and its denoised image differ: the sampler ran once more, for the denoised output."
)
STILL_NOISY = (
    "The schedule ends at sigma {sigma:.3g}, so the objective judged images that have as much noise left: let it end at 0, or improve the "
    "sampler that ends there."
)
NO_SALIENT = (
    "SGOOL scores a salient part as well, and this objective has none, which makes it DOODL: connect a saliency model, a mask or a salient "
    "prompt to Saliency CLIP Loss."
)
FRAMES = "Of each video {count} frames were scored, and their losses averaged (SGOOL Settings: frames)."
NO_OBJECTIVE = (
    "There is no objective (none is connected, or its node is bypassed), so this was sampled plainly: connect one, such as Saliency CLIP "
    "Loss."
)

SAME_HELD_OUT = (
    "held_out is the objective itself, which says nothing of whether that was fooled: connect another, such as a Saliency CLIP Loss with "
    "another reward."
)


class SGOOLSampler(comfy.samplers.Sampler):
    """Optimize the noise for an objective, then return what ``sampler`` makes of it.

    Works with any guider, model, LoRA, ControlNet, schedule, mask and noise that ``sampler`` works with; see the README.
    With 0 iterations and ``best_of`` 1 it is ``sampler``, bit for bit.

    Args:
        sampler: any SAMPLER but another of these.
        objective: judges decoded images; with ``None`` nothing is optimized, and the run says so.
        vae: decodes latents to images; as ``objective``.
        preset: how. Of a procedure in it the cutouts are taken, in a copy of ``objective``; where sampler, steps or guidance scale are
            not the procedure's, the run says so.
        remarks: sentences that each run's outcome begins with.
        held_out: another objective, that is only asked, before and after; the outcome has its numbers.
        top_k: how many images of each of the batch the outcome keeps, that of the returned latent among them.

    Attributes:
        outcomes: what the last runs have to say besides their latents.

    Raises:
        ValueError: if something is missing that the preset needs, or ``sampler`` is an SGOOLSampler.
    """

    def __init__(
        self,
        sampler: comfy.samplers.Sampler,
        objective: Objective | None,
        vae: Any,
        preset: Preset,
        remarks: Sequence[str] = (),
        *,
        held_out: Objective | None = None,
        top_k: int = 1,
    ) -> None:
        if isinstance(sampler, SGOOLSampler):
            raise ValueError("This sampler optimizes already. Connect an ordinary one (KSamplerSelect), and combine objectives instead.")
        if not isinstance(sampler, comfy.samplers.Sampler):
            raise ValueError(f"Expected a SAMPLER, got {type(sampler).__name__}. Connect a KSamplerSelect or another sampler node.")
        self._remarks = list(remarks)
        if preset.settings.best_of > 1 and getattr(sampler, "pair", None) is not None:
            preset = replace(preset, settings=replace(preset.settings, best_of=1))
            self._remarks.append(KEPT_START)
        self.sampler, self.vae, self.preset = sampler, vae, preset
        self.objective, self.held_out, self.top_k = objective, held_out, top_k
        if self.optimizes and objective is None:
            # What came before has been computed already; an error would throw that away.
            self.preset = preset.with_iterations(0)
            self._remarks.append(NO_OBJECTIVE)
        if self.optimizes and objective is not None and held_out is objective:
            self._remarks.append(SAME_HELD_OUT)
        if self.optimizes and vae is None:
            raise ValueError(NO_VAE)
        if self.optimizes and objective is not None and preset.procedure is not None:
            self.objective, said = procedure.objective_for(preset.procedure, objective)
            self._remarks += said
        self.outcomes = Outcomes()

    @property
    def optimizes(self) -> bool:
        """Whether there is anything to do but sample."""
        return self.preset.settings.changes_noise

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
        """What ComfyUI calls; returns the latent in the model's space, as any sampler does. What else there is goes to ``outcomes``."""
        random_state, state = RandomState(sigmas.device), ModelState(model_wrap, self.sampler, extra_args)

        def run(**options: Any) -> NoiseToLatent:
            arguments = (self.sampler, model_wrap, sigmas, extra_args, latent_image, denoise_mask)
            options |= {"both": self._scores_both, "random_state": random_state, "model_state": state}
            return NoiseToLatent(*arguments, schedule=self.preset.jacobian, **options)

        if not self.optimizes or len(sigmas) < 2:
            return self._sampled_plainly(run(), model_wrap, noise, callback, disable_pbar)
        parts = parts_of(model_wrap, noise)
        check_fits(model_wrap, noise, self.vae, parts)
        if self.preset.settings.iterations and hasattr(self.sampler, "sample_both"):
            state.check_reversible()
        progress = RunProgress(Bar(len(sigmas) - 1), Text(), self.preset.settings, self.preset.plot_images)
        wants_denoised = callback is not None and float(sigmas[-1]) > 0
        checked = self_check.check(run(), noise, self.preset.gradient_check if self.preset.settings.iterations else CHECK_NEVER)
        result, best, top = self._optimized(model_wrap, run, noise, state, parts, progress=progress, afterwards=wants_denoised)
        latent = parts.sampled(result.latent)
        latent = latent[:, 0] if self._scores_both else latent
        messages = [*self._remarks, *model_remarks(model_wrap.inner_model, noise)]
        messages += self._messages(model_wrap, sigmas, checked, result)
        along_the_way = progress.along_the_way.chosen(result.history)
        result.history.settings = self.preset.to_dict()
        if callback is not None and not wants_denoised:  # at sigma 0 the latent is the denoised image
            callback(len(sigmas) - 2, latent, latent, len(sigmas) - 1)
        if wants_denoised or state.names:
            alone = run().plain(best, _last_alone(callback) if wants_denoised else None, disable_pbar)
            result.history.cost.add_run()
            messages += self._messages_of_last_run(latent, alone, state, wants_denoised)
            latent = alone if wants_denoised else latent
        result.history.cost.add_calls(checked.calls)
        for message in messages:
            logging.info("SGOOL: %s", message)
        progress.ends()
        self.outcomes.add(model_wrap, latent, Outcome(_kept(best), result.history, messages, top, along_the_way))
        return latent

    def _sampled_plainly(
        self, run: NoiseToLatent, model_wrap: Any, noise: Tensor, callback: Callable[..., None] | None, disable_pbar: bool
    ) -> Tensor:
        """The latent of the wrapped sampler, which is told to ``outcomes`` as well."""
        latent = run.plain(noise, callback, disable_pbar)
        for remark in self._remarks:
            logging.warning("SGOOL: %s", remark)
        nothing = History(len(noise), noise[0].numel())
        said = [*self._remarks, *model_remarks(model_wrap.inner_model, noise), "Nothing was optimized."]
        self.outcomes.add(model_wrap, latent, Outcome(_kept(noise), nothing, said))
        return latent

    @property
    def _scores_both(self) -> bool:
        """Whether two coupled latents of an image are scored, as DOODL does."""
        return self.preset.procedure is not None and bool(getattr(self.sampler, "coupled", False))

    @property
    def _wants_salient_part(self) -> bool:
        return self.preset.procedure is not None and self.preset.procedure.region is not None

    def _messages(self, model_wrap: Any, sigmas: Tensor, checked: self_check.Checked, result: Result) -> list[str]:
        """What a run has to say, in the order in which it came up."""
        said = [STILL_NOISY.format(sigma=float(sigmas[-1]))] if float(sigmas[-1]) > 0 else []
        said += [APPROXIMATE] if gradient_is_approximate(self.sampler) else []
        said += [COMPILED] if self.preset.settings.iterations and is_compiled(model_wrap) else []
        if self.preset.procedure is not None:
            differs = procedure.difference(self.preset.procedure, self.sampler, len(sigmas) - 1, model_wrap)
            said += [] if differs is None else [differs]
        said += [*checked.messages, *result.messages]
        if self._wants_salient_part and not any("salient" in row.parts for row in result.history.rows):
            said.append(NO_SALIENT)
        return said

    def _messages_of_last_run(self, latent: Tensor, alone: Tensor, state: ModelState, wants_denoised: bool) -> list[str]:
        """What to say of the run that was made once more: why, and whether it came to the same ``latent``."""
        said = [LAST_RUN] if wants_denoised else []
        if state.names:  # something is remembered between calls: was all of it put back?
            state.restore()
            differs = state.difference(latent, alone, procedure.sampler_name(self.sampler))
            said += [] if differs is None else [differs]
        return said

    def _optimized(
        self,
        model_wrap: Any,
        run: Callable[..., NoiseToLatent],
        noise: Tensor,
        state: ModelState,
        parts: Parts,
        **told: Any,
    ) -> tuple[Result, Tensor, list[list[Candidate]]]:
        """The result of the run, the sampler's noise, and the best images.

        ``told``: ``progress`` and ``afterwards``, see :class:`Optimization`.

        Raises ``RuntimeError`` where memory does not suffice, with what would help.
        """
        assert self.objective is not None
        options: dict[str, Any] = {"state": state, "scores_both": self._scores_both, "parts": parts, "frames": self.preset.frames}
        options |= {"held_out": self.held_out, "stored_calls": self.preset.stored_calls, "top_k": self.top_k, **told}
        attempt = Optimization(model_wrap, run, self.objective, self.vae, **options)
        try:
            result = attempt.execute(noise, self.preset.settings)
            if attempt.frames_scored > 1:
                result.messages.insert(0, FRAMES.format(count=attempt.frames_scored))
            top = [[replace(each, noise=parts.whole_noise(each.noise)) for each in several] for several in attempt.top]
            return result, parts.whole_noise(result.noise), top
        except Exception as error:
            if not memory.ran_out(error):
                raise
        # Outside the except block, where the error still holds on to the memory.
        del attempt
        comfy.model_management.soft_empty_cache()
        raise RuntimeError(too_large(parts.noise(noise), self.preset))


def too_large(noise: Tensor, preset: Preset) -> str:
    """The sentence for a run that does not fit on the device, with what would make it smaller."""
    smaller = []
    if len(noise) > 1:
        smaller.append(f"a batch of 1 instead of {len(noise)}")
    smaller.append(f"a latent smaller than {'x'.join(map(str, noise.shape[2:]))}")
    if preset.jacobian.choice != "last" or preset.jacobian.count > 1:
        smaller.append("gradients through the last model call only (SGOOL Settings: gradient_calls 'last', 1)")
    if preset.procedure is not None:
        smaller.append("fewer augmentations of the image (SGOOL Settings: procedure 'none')")
    smaller.append("a smaller reward model")
    return f"Out of memory, also with every block checkpointed. What would help, in this order: {'; '.join(smaller)}; or iterations 0."


def _last_alone(callback: Callable[..., None] | None) -> Callable[..., None] | None:
    """``callback`` told of a run's last step and of no other: core's moves the node's bar, which has come this far already."""

    def told(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        if callback is not None and step + 1 >= total:
            callback(step, denoised, x, total)

    return told


def _kept(noise: Tensor) -> Tensor:
    return noise.detach().to("cpu", torch.float32).clone()
