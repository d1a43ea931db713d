"""How well augmented images fit prompts: by the vectors of an encoder where a reward has one, else by the reward's own number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .distances import DISTANCES, smooth_hinge

Augment = Callable[[Tensor], Tensor]
CONTRAST_SCALE = 100.0
"""CLIP's own logit scale, for cosines. Rewards of another kind have no scale of their own: 1."""


class Encoder(Protocol):
    """Unit vectors of one space: ``(n, d)`` for sentences, ``(B, d)`` for images ``(B, 3, H, W)``, differentiable."""

    def encode_text(self, prompts: list[str]) -> Tensor: ...

    def encode_image(self, images: Tensor) -> Tensor: ...


class Fit(Protocol):
    """What the loss asks of a reward. ``seen`` is what :meth:`look` returned; answers are ``(augmentations, B)``, differentiable."""

    def look(self, images: Tensor, augmentations: Sequence[Augment]) -> Any:
        """Show ``(B, 3, H, W)`` images through each augmentation."""

    def distance(self, seen: Any, prompts: list[str]) -> Tensor:
        """How far each image is from its prompt; lower is better."""

    def contrast(self, seen: Any, prompts: list[str], negative: list[str]) -> Tensor:
        """How much more each image looks like one of the negative prompts than like its own, at least 0."""

    def measure(self, seen: Any, prompts: list[str]) -> tuple[str, Tensor]:
        """Name and value of what people compare: the cosine, or the reward; higher is better."""


class EncoderFit:
    """Distances between the unit vectors of images and prompts. Prompts are encoded once.

    Args:
        encoder: both towers.
        distance: a name of ``DISTANCES``.
    """

    def __init__(self, encoder: Encoder, distance: str) -> None:
        self._encoder, self._distance = encoder, DISTANCES[distance]
        self._texts: dict[str, Tensor] = {}

    def look(self, images: Tensor, augmentations: Sequence[Augment]) -> Tensor:
        """``(augmentations, B, d)``; augmentations of one size are encoded together."""
        seen = [augment(images) for augment in augmentations]
        if all(each.shape == seen[0].shape for each in seen):
            return self._encoder.encode_image(torch.cat(seen)).unflatten(0, (len(seen), len(images)))
        return torch.stack([self._encoder.encode_image(each) for each in seen])

    def distance(self, seen: Tensor, prompts: list[str]) -> Tensor:
        """See :class:`Fit`."""
        return self._distance(seen, self._vectors(prompts, seen))

    def contrast(self, seen: Tensor, prompts: list[str], negative: list[str]) -> Tensor:
        """See :class:`Fit`: a smooth hinge on cosines, as sharp as CLIP's own softmax."""
        cosines = (seen * self._vectors(prompts, seen)).sum(-1, keepdim=True)
        return smooth_hinge(seen @ self._vectors(negative, seen).T - cosines, CONTRAST_SCALE)

    def measure(self, seen: Tensor, prompts: list[str]) -> tuple[str, Tensor]:
        """The mean cosine."""
        return "similarity", (seen * self._vectors(prompts, seen)).sum(-1).mean(0)

    def _vectors(self, prompts: list[str], like: Tensor) -> Tensor:
        return torch.cat([self._text(prompt, like) for prompt in prompts])

    def _text(self, prompt: str, like: Tensor) -> Tensor:
        if prompt not in self._texts:
            # A copy made outside of inference mode is an ordinary tensor, which can be saved for the backward pass.
            with torch.inference_mode(False):
                self._texts[prompt] = self._encoder.encode_text([prompt]).detach().clone()
            if self._texts[prompt].shape[-1] != like.shape[-1]:
                raise ValueError(
                    f"The text tower gives vectors of {self._texts[prompt].shape[-1]} numbers and the image tower of {like.shape[-1]}: "
                    "they were not trained together. Use the two towers of one model."
                )
        return self._texts[prompt].to(like)


class Seen:
    """Augmented images, and the rewards that were asked about them."""

    def __init__(self, images: list[Tensor]) -> None:
        self.images = images
        self.rewards: dict[tuple[str, ...], Tensor] = {}


class RewardFit:
    """A reward that has no vectors: its negative is the distance. It is asked once about the same images and prompts.

    Args:
        reward: ``(images (B, 3, H, W), prompts) -> (B,)``, higher is better.
    """

    def __init__(self, reward: Callable[[Tensor, list[str]], Tensor]) -> None:
        self._reward = reward

    def look(self, images: Tensor, augmentations: Sequence[Augment]) -> Seen:
        """The augmented images themselves."""
        return Seen([augment(images) for augment in augmentations])

    def distance(self, seen: Seen, prompts: list[str]) -> Tensor:
        """See :class:`Fit`: the negated reward, which may be below 0."""
        return -self._asked(seen, prompts)

    def contrast(self, seen: Seen, prompts: list[str], negative: list[str]) -> Tensor:
        """See :class:`Fit`: the same hinge on rewards."""
        unwanted = torch.stack([self._asked(seen, [prompt] * len(prompts)) for prompt in negative], dim=-1)
        return smooth_hinge(unwanted - self._asked(seen, prompts)[..., None], 1.0)

    def measure(self, seen: Seen, prompts: list[str]) -> tuple[str, Tensor]:
        """The mean reward."""
        return "reward", self._asked(seen, prompts).mean(0)

    def _asked(self, seen: Seen, prompts: list[str]) -> Tensor:
        key = tuple(prompts)
        if key not in seen.rewards:
            seen.rewards[key] = torch.stack([self._reward(images, prompts) for images in seen.images])
        return seen.rewards[key]
