"""What was tried to make it better and lives here only: update rules and objectives that are not part of the pack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sgool.guidance.distances import contrast, squared_great_circle
from sgool.guidance.objective import Context, Scored
from sgool.latent_optimization.update_rules import Draw, NormalizedGradient, State
from torch import Tensor

from .near_misses import near_misses

Saliency = Callable[[Tensor], Tensor] | Tensor


@dataclass(frozen=True)
class WhitenedGradient(NormalizedGradient):
    """The normalized gradient with the same power at every spatial frequency, so that a step looks like white noise."""

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        spectrum = torch.fft.rfft2(gradient)
        power = spectrum.abs().square().mean(dim=1, keepdim=True).sqrt()
        white = torch.fft.irfft2(spectrum / power.clamp(min=1e-12), s=gradient.shape[-2:])
        return super().step(white, state, draw)


@dataclass(frozen=True)
class DecayingSteps(NormalizedGradient):
    """Coarse to fine: each step is ``decay`` times as long as the one before."""

    decay: float = 0.8

    def start(self, noise: Tensor) -> State:
        return {**super().start(noise), "length": noise.new_ones(len(noise))}

    def step(self, gradient: Tensor, state: State, draw: Draw) -> tuple[Tensor, State]:
        step, after = super().step(gradient, {"velocity": state["velocity"]}, draw)
        length = state["length"].view(-1, *[1] * (gradient.ndim - 1))
        return step * length, {**after, "length": state["length"] * self.decay}


class Contrast:
    """How much more an image looks like the prompt's own wrong variants than like the prompt, over augmentations."""

    def __init__(self, scorer: Any, prompts: Sequence[str], augmentations: Any) -> None:
        self.scorer, self.views = scorer, augmentations
        self.texts = [scorer.encode_text([prompt, *near_misses(prompt)]).clone() for prompt in prompts]

    def begin(self) -> None:
        """Nothing is kept."""

    def __call__(self, images: Tensor, context: Context) -> Scored:
        augmentations = self.views.draw(images.shape[-2], images.shape[-1], self.scorer.image_size, context.generator)
        seen = torch.stack([self.scorer.encode_image(augmentation(images)) for augmentation in augmentations], dim=1)
        texts = [self.texts[i] for i in context.positions(len(images))]
        losses = [contrast(one, t[:1], t[1:]).mean() if len(t) > 1 else one.sum() * 0 for one, t in zip(seen, texts, strict=True)]
        return Scored(torch.stack(losses), {"near misses": torch.stack(losses).detach()})


class Attending:
    """The salient term with the map inside the encoder: a bias on the class token's attention in the last layer, not on pixels."""

    def __init__(self, scorer: Any, prompts: Sequence[str], saliency: Saliency, augmentations: Any, strength: float = 4.0) -> None:
        self.scorer, self.saliency, self.views, self.strength = scorer, saliency, augmentations, strength
        self.texts = scorer.encode_text(list(prompts)).clone()
        self.vision = scorer._towers.model.vision_model
        self.vision.config._attn_implementation = "eager"

    def begin(self) -> None:
        """Nothing is kept."""

    def __call__(self, images: Tensor, context: Context) -> Scored:
        positions = context.positions(len(images))
        maps = self.saliency[positions] if isinstance(self.saliency, Tensor) else self.saliency(images.detach()).detach()
        total = []
        for augmentation in self.views.draw(images.shape[-2], images.shape[-1], self.scorer.image_size, context.generator):
            total.append(
                squared_great_circle(
                    self._embed(augmentation(images), augmentation(maps.expand(-1, 3, -1, -1))[:, :1]), self.texts[positions]
                )
            )
        losses = torch.stack(total).mean(0)
        return Scored(losses, {"attending": losses.detach()}, maps)

    def _embed(self, images: Tensor, maps: Tensor) -> Tensor:
        patch = self.vision.config.patch_size
        weight = torch.nn.functional.avg_pool2d(maps, patch).flatten(1)
        bias = images.new_zeros(len(images), 1, weight.shape[1] + 1, weight.shape[1] + 1)
        bias[:, 0, 0, 1:] = self.strength * (weight / weight.amax(1, keepdim=True).clamp(min=1e-6) - 1)
        hook = self.vision.encoder.layers[-1].register_forward_pre_hook(lambda _m, args, kw: self._biased(args, kw, bias), with_kwargs=True)
        try:
            return self.scorer.encode_image(images)
        finally:
            hook.remove()

    @staticmethod
    def _biased(args: tuple[Any, ...], keywords: dict[str, Any], bias: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if len(args) > 1:
            return (args[0], bias, *args[2:]), keywords
        return args, {**keywords, "attention_mask": bias}
