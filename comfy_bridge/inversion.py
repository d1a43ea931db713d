"""From an image's latent to the noise that a reversible sampler makes it of."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import latent_preview
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..latent_optimization.reversible import invert as run_backwards
from ..latent_optimization.reversible.chain import end_pair
from ..latent_optimization.reversible.expected_error import expected_error
from .model_state import ModelState
from .reversible_samplers import ReversibleRun, ReversibleSampler, plan_for, warning_for
from .sgool_sampler import SGOOLSampler

PAIR = "sgool_pair"
"""The key of a LATENT under which it carries the pair that belongs to its noise."""


@dataclass(frozen=True)
class Inverted:
    """What an inversion found.

    Attributes:
        noise: ``(B, ...)`` float32 on the CPU, for the latent that was inverted as ``latent_image``.
        pair: see :class:`ReversibleSampler`; on the CPU.
        deviation: standard deviation of the noise, 1 for what a model was trained on; ``(B,)``.
        apart: how far the second state is from where it would start by itself, in standard deviations of the starting noise; ``(B,)``.
        expected_error: in the noise, see :func:`expected_error`.
        messages: warnings for the user.
    """

    noise: Tensor
    pair: Tensor
    deviation: Tensor
    apart: Tensor
    expected_error: float
    messages: list[str]

    def to_text(self) -> str:
        """The numbers as a table of one line an image, after the messages."""
        rows = [
            f"Image {index + 1}: standard deviation of the noise {float(deviation):.3f} (1 is ordinary noise), "
            f"states {float(apart):.2g} standard deviations apart"
            for index, (deviation, apart) in enumerate(zip(self.deviation, self.apart, strict=True))
        ]
        return "\n".join([*self.messages, f"Expected relative error of the noise: {self.expected_error:.1g}", *rows])


def reversible(sampler: Any) -> ReversibleSampler:
    """``sampler`` if it can be run backwards. Raises ``ValueError`` with a sentence that says why another cannot."""
    if isinstance(sampler, ReversibleSampler):
        return sampler
    if isinstance(sampler, SGOOLSampler):
        raise ValueError("This sampler optimizes its noise. Invert with the reversible sampler that it wraps.")
    function = getattr(getattr(sampler, "sampler_function", None), "__name__", type(sampler).__name__).removeprefix("sample_")
    options = getattr(sampler, "extra_options", {}) or {}
    random = [name for name in ("eta", "s_churn", "s_noise") if float(options.get(name, 0) or 0) and name != "s_noise"]
    stochastic = random or any(word in function for word in ("ancestral", "sde", "lcm", "ddpm"))
    why = "it draws fresh noise at each step, which cannot be taken back" if stochastic else "its steps do not have an exact inverse"
    raise ValueError(f"The sampler {function} cannot be run backwards: {why}. Connect SGOOL Reversible Sampler.")


def check(model: Any, sampler: ReversibleSampler, sigmas: Tensor, latent: Tensor) -> None:
    """Refuse what cannot be inverted before anything is computed: an odd schedule, a latent that is not finite or of several parts."""
    if getattr(latent, "is_nested", False):
        raise ValueError("This latent has several parts (video with sound, for instance); only images can be inverted.")
    plan_for(sampler.solver, model.get_model_object("model_sampling"), sigmas)
    if not bool(torch.isfinite(latent).all()):
        raise ValueError("The latent has numbers that are not finite; check the image or the node that makes it.")


def invert(
    *, model: Any, positive: Any, negative: Any, cfg: float, sampler: Any, sigmas: Tensor, latent: Tensor, seed: int = 0
) -> Inverted:
    """Find the noise from which ``sampler`` makes ``latent`` with the same model, prompts, cfg and schedule.

    Args:
        model: MODEL. positive, negative: CONDITIONING. cfg: guidance scale.
        sampler: a :class:`ReversibleSampler`; a pair that it has is not used.
        sigmas: ``(steps + 1,)``, falling.
        latent: ``(B, ...)``, as LATENT sockets carry it.
        seed: handed to the model as in sampling; nothing here is random.

    Raises:
        ValueError: for a sampler or schedule that cannot be run backwards, a latent that is not finite, or a model whose start does not
            depend on noise, all before any model call; and if the noise that is found is not finite.
    """
    chosen = reversible(sampler).with_pair(None)
    check(model, chosen, sigmas, latent)
    backwards = _Backwards(chosen)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    callback = latent_preview.prepare_callback(model, len(sigmas) - 1)
    guider.sample(torch.zeros_like(latent), latent, backwards, sigmas, callback=callback, seed=seed)
    assert backwards.found is not None
    for message in backwards.found.messages:
        logging.warning("SGOOL: %s", message)
    return backwards.found


class _Backwards(comfy.samplers.Sampler):
    """A SAMPLER that runs another backwards, and leaves what it finds in ``found``; the latent that it returns is what it was given."""

    def __init__(self, sampler: ReversibleSampler) -> None:
        self.sampler = sampler
        self.found: Inverted | None = None

    def sample(  # noqa: PLR0917  (core's signature)
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        ModelState(model_wrap, extra_args).check_reversible()
        begun = ReversibleRun(self.sampler, model_wrap, sigmas, extra_args, latent_image, latent_image)
        begun.prepare(noise)
        zero, one = (begun.scaled(value) for value in (torch.zeros_like(latent_image), torch.ones_like(latent_image)))
        factor = one - zero
        if not bool((factor != 0).all()):
            raise ValueError("This model starts from an image instead of noise, so there is no noise to find. Use a text-to-image model.")
        last = latent_image.to(begun.dtype)
        ends = [begun.sampling.inverse_noise_scaling(sigmas[-1], torch.full_like(last, value)) for value in (0.0, 1.0)]
        end = (last - ends[0]) / (ends[1] - ends[0])
        total = len(begun.plan.steps)
        with tqdm(total=total, disable=disable_pbar) as bar:

            def on_step(index: int, x: Tensor) -> None:
                bar.update()
                if callback is not None:
                    callback(index, begun.denoised, x.to(begun.model_dtype), total)

            states = end_pair(begun.plan, begun.slope, end, self.sampler.solver.coupled)
            x, offset = run_backwards(begun.plan, begun.slope, states, on_step)
        exact = (x - zero) / factor
        rounded = exact.to(torch.float32)
        if not bool(torch.isfinite(rounded).all()):
            advice = warning_for(begun.plan, begun.dtype) or "Take more steps, another solver or a lower cfg."
            raise ValueError(f"The inversion ran away: the noise that it found is not finite. {advice}")
        pair = torch.stack([x - begun.scaled(rounded), offset], dim=1)
        warning = warning_for(begun.plan, begun.dtype)
        self.found = Inverted(
            rounded.cpu(),
            pair.cpu(),
            exact.flatten(1).std(dim=1).cpu(),
            (offset / factor).flatten(1).square().mean(dim=1).sqrt().cpu(),
            expected_error(begun.plan, begun.dtype),
            [warning] if warning is not None else [],
        )
        return latent_image
