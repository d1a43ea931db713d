"""Reversible solvers as ComfyUI SAMPLERs: usable in any graph, and with gradients in constant memory where noise is optimized."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..latent_optimization.autograd_mode import gradients
from ..latent_optimization.reversible import Pair, Plan, Solver, run
from ..latent_optimization.reversible.chain import run_reversibly
from ..latent_optimization.reversible.expected_error import WORTH_A_WARNING, expected_error

PRECISIONS = {"float64": torch.float64, "float32": torch.float32}


class ReversibleSampler(comfy.samplers.Sampler):
    """A SAMPLER of a reversible solver.

    For any model family (the step is the same in ComfyUI's parametrization), guider, schedule, batch and mask. Draws nothing at random.
    Under a sampler that optimizes its noise, its backward keeps nothing but the last two states.

    Args:
        solver: from latent_optimization/reversible.
        precision: of its states, "float64" or "float32", whatever the model computes in; float32 where the device has no float64. The
            model is handed what it is handed by core's samplers, the latent in the noise's own precision.
        pair: ``(B, 2, ...)`` or ``None``: from an inversion, what noise alone does not say: how far the first state is from the noise in
            float32, and the second from the first. Used for ``B`` images, or, if it is of one, for all.

    Raises:
        ValueError: for an unknown precision.
    """

    def __init__(self, solver: Solver, precision: str = "float64", pair: Tensor | None = None) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"Unknown precision {precision!r}. Expected one of {', '.join(PRECISIONS)}.")
        self.solver = solver
        self.precision = precision
        self.pair = pair

    @property
    def coupled(self) -> bool:
        """Whether the two states are two latents of the same image."""
        return self.solver.coupled

    def with_pair(self, pair: Tensor | None) -> ReversibleSampler:
        """The same sampler, starting from another pair."""
        return ReversibleSampler(self.solver, self.precision, pair)

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
        """What ComfyUI calls.

        Raises:
            ValueError: before any model call, for a schedule that cannot be run backwards, a pair that does not fit, or a noise or latent
                that is not finite.
        """
        begun = ReversibleRun(self, model_wrap, sigmas, extra_args, noise, latent_image, denoise_mask)
        end = begun.forwards(noise, callback, disable_pbar)
        return begun.finished(end[begun.plan.newest[-1]])

    def sample_both(  # noqa: PLR0917  (as above)
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
    ) -> Tensor:
        """Both latents of a coupled solver, ``(B, 2, ...)``, the result first. DOODL judges them both."""
        begun = ReversibleRun(self, model_wrap, sigmas, extra_args, noise, latent_image, denoise_mask)
        end = begun.forwards(noise, None, True)
        return torch.stack([begun.finished(state) for state in end], dim=1)


class ReversibleRun:
    """One run of a reversible sampler, in either direction: its plan, and its model as the slope that the plan asks for."""

    def __init__(  # noqa: PLR0917
        self,
        sampler: ReversibleSampler,
        model: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        like: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
    ) -> None:
        self.sampling = model.inner_model.model_sampling
        self.plan: Plan = plan_for(sampler.solver, self.sampling, sigmas)
        self.model_dtype = torch.promote_types(like.dtype, torch.float32)
        self.dtype = torch.promote_types(self.model_dtype, state_dtype(sampler.precision, like.device))
        self.latent_image = torch.zeros_like(like) if latent_image is None else latent_image
        self.denoise_mask = denoise_mask
        self.sigmas = sigmas
        self.pair = _fitting(sampler.pair, like)
        self.extra_args = dict(extra_args)
        self.max_denoise = sampler.max_denoise(model, sigmas)
        self.model = model
        self.denoised: Tensor | None = None
        _check_finite(like, "noise")
        _check_finite(self.latent_image, "latent image")

    def forwards(self, noise: Tensor, callback: Callable[..., None] | None, disable_pbar: bool) -> Pair:
        """From noise to the two states at the end, which :meth:`finished` makes latents of."""
        start = self.started(noise)
        self.prepare(noise)
        if start[0].requires_grad:
            carries = getattr(self.model, "carries", None) if hasattr(self.model, "again") else None
            with torch.enable_grad():
                held = noise if self.denoise_mask is not None else None
                return run_reversibly(self.plan, self.slope, start, carries=carries, slope_with_grad=self._slope_again, held=held)
        with tqdm(total=len(self.plan.steps), disable=disable_pbar) as bar:

            def on_step(index: int, x: Tensor) -> None:
                bar.update()
                if callback is not None:
                    callback(index, self.denoised, x.to(self.model_dtype), len(self.plan.steps))

            return run(self.plan, self.slope, start, on_step)

    def started(self, noise: Tensor) -> Pair:
        """The noisy latent at the first sigma, as core makes it, and the offset of the second state."""
        x = self.scaled(noise)
        if self.denoise_mask is not None:  # at the highest sigma core scales noise a little differently from what a mask keeps
            sigmas = x.new_full((len(x),), self.plan.sigmas[0])
            x, _ = self._masked(x, sigmas, self.denoise_mask, noise)
        if self.pair is None:
            return x, torch.zeros_like(x)
        rest, offset = self.pair.to(x).unbind(1)
        # What a mask keeps is made from the noise, for both states alike; inside it they may differ.
        return x + rest.expand_as(x), (offset if self.denoise_mask is None else offset * self.denoise_mask).expand_as(x)

    def scaled(self, noise: Tensor) -> Tensor:
        """``noise_scaling`` of the model family, in the precision of the states."""
        x: Tensor = self.sampling.noise_scaling(self.sigmas[0], noise.to(self.dtype), self.latent_image.to(self.dtype), self.max_denoise)
        return x

    def finished(self, state: Tensor) -> Tensor:
        """A state at the last sigma, as the guider expects it."""
        return self.sampling.inverse_noise_scaling(self.sigmas[-1], state).to(self.model_dtype)

    def prepare(self, noise: Tensor) -> None:
        """Make :meth:`slope` ready; ``noise`` is what a mask keeps is drawn with."""
        with torch._C.DisableTorchFunction():  # a mode might hand detach() through
            self.noise = noise.detach()

    def slope(self, x: Tensor, sigma: float) -> Tensor:
        """See :data:`Slope`."""
        return self._slope(self.model, x, sigma, self.noise)

    def _slope_again(self, x: Tensor, sigma: float, noise: Tensor | None = None) -> Tensor:
        """The slope as backward computes it, outside of whatever surrounded the sampler; ``noise``: where there is a mask."""
        with gradients():
            return self._slope(_Again(self.model), x, sigma, self.noise if noise is None else noise)

    def _slope(self, model: Any, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """What a mask keeps is the latent image with its noise whatever the state is, as in core's KSamplerX0Inpaint; there the slope is
        the noise itself, so that it ends as the latent image, also where a solver scales the state."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        sigmas = x.new_full((len(x),), sigma, dtype=self.model_dtype)
        mask = self._mask(sigmas)
        kept: Tensor | float = 0.0
        if mask is not None:
            x, kept = self._masked(x, sigmas, mask, noise)
        denoised = model(x.to(self.model_dtype), sigmas, **self.extra_args)
        if mask is not None:
            denoised = denoised * mask + kept
        self.denoised = denoised.detach()
        return (x - denoised.to(x.dtype)) / sigma

    def _masked(self, x: Tensor, sigmas: Tensor, mask: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The state with what the mask keeps put in its place, and the latent image's share of the denoised."""
        known = self.model.inner_model.scale_latent_inpaint(x=x, sigma=sigmas, noise=noise, latent_image=self.latent_image)
        return x * mask + known * (1 - mask), self.latent_image * (1 - mask)

    def _mask(self, sigmas: Tensor) -> Tensor | None:
        function = self.extra_args.get("model_options", {}).get("denoise_mask_function")
        if self.denoise_mask is None or function is None:
            return self.denoise_mask
        return function(sigmas, self.denoise_mask, extra_options={"model": self.model, "sigmas": self.sigmas})


class _Again:
    """A sampler's model as backward calls it: with its graph, and not counted."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._call = getattr(model, "again", model)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self._call(x, *args, **kwargs)


def plan_for(solver: Solver, sampling: Any, sigmas: Tensor) -> Plan:
    """A solver's plan for a model's ``model_sampling`` and a schedule. Raises ``ValueError`` as the solver does."""
    numbers = [float(sigma) for sigma in sigmas.double().tolist()]
    if not all(math.isfinite(sigma) for sigma in numbers):
        return solver.plan(numbers, numbers)  # which refuses them with a sentence
    # What the model multiplies its input by: 1 / sqrt(1 + sigma^2) for eps and v models, nothing for flow models.
    one = torch.ones((1,), dtype=torch.float64)
    scales = [float(sampling.calculate_input(torch.tensor([sigma], dtype=torch.float64), one)) for sigma in numbers]
    return solver.plan(numbers, scales)


def state_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype for a precision on a device; float32 where it has no float64 (Apple's GPUs, DirectML)."""
    if precision == "float64":
        try:
            torch.zeros((), dtype=torch.float64, device=device)
        except (TypeError, RuntimeError):
            logging.info("SGOOL: %s has no float64; the reversible sampler's states are float32.", device)
            return torch.float32
    return PRECISIONS[precision]


def warning_for(plan: Plan, dtype: torch.dtype) -> str | None:
    """The sentence for a plan that cannot be run backwards well, or ``None``."""
    error = expected_error(plan, dtype)
    if error < WORTH_A_WARNING:
        return None
    return (
        f"These settings run backwards badly: rounding is multiplied until the noise is off by about {error:.1g} of its size. Take fewer "
        "steps, float64, a mix nearer to 1 (EDICT) or gamma 1 (BDIA)."
    )


def _fitting(pair: Tensor | None, noise: Tensor) -> Tensor | None:
    if pair is None:
        return None
    fits = pair.ndim == noise.ndim + 1 and pair.shape[1] == 2 and pair.shape[2:] == noise.shape[1:] and pair.shape[0] in (1, len(noise))
    if not fits:
        raise ValueError(
            f"The inverted pair is of {tuple(pair.shape[2:])} and a batch of {pair.shape[0]}, the latent of {tuple(noise.shape[1:])} and a "
            f"batch of {len(noise)}. Use the latent, and the sampler, of the same inversion."
        )
    return pair


def _check_finite(tensor: Tensor, what: str) -> None:
    if not bool(torch.isfinite(tensor.detach()).all()):
        raise ValueError(f"The {what} has numbers that are not finite; check the node that makes it.")
