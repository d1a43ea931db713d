"""A bed where a reward overlooks what matters, as CLIP reads 224 of 1024 pixels: images of two small objects, laid on a large busy ground.

The demo model paints 64 pixels a side and nothing that is narrower than 11. So each image is laid, its border faded out, on a ground of
128 pixels a side, of which the reward (worth/low_resolution.py) reads 24 or 32. Then an object is 2 to 3.5 pixels wide for it. A window is
what the reward reads at full resolution: a square as many pixels wide.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sgool.demo.captions import Caption, Phrase, parse
from sgool.demo.render import render
from sgool.demo.scenes import SIDE, Scene, draw_scene
from sgool.demo.training.reward import RewardWithHead
from sgool.guidance.objective import Context, Scored
from sgool.guidance.regions import WINDOW_COUNT, peak_windows
from sgool.guidance.saliency_clip_loss import SaliencyCLIPLoss
from sgool.image_ops.resize import resize, sample_window
from sgool.saliency_models import registry
from torch import Tensor

from .low_resolution import reduced
from .methods import DEFAULT
from .prompts import half_of, noise_seed

CANVAS, FADED, CLUTTER = 128, 8, 2
LEAST_RADIUS = 2.7  # of what the reward is taught, in its 64 pixels
WHOLE, PHRASES, RANDOM, NODE = "whole", "whole, by phrases", "windows: random", "the node's defaults, with a saliency model"
Maps = Mapping[str, Callable[[Tensor], Tensor]]


def draw_two_small(half: str, count: int) -> list[str]:
    """The first ``count`` held-out captions of a half that ask for two small objects that are not alike."""
    rng, found = np.random.default_rng(2468), dict[str, None]()
    while len(found) < count:
        caption = draw_scene(rng, keep_held_out=True).caption
        small = len(caption.phrases) == caption.count == 2 and all(phrase.size == "small" for phrase in caption.phrases)
        if small and half_of(caption.text()) == half:
            found[caption.text()] = None
    return list(found)


def fade() -> Tensor:
    """How much of an image is seen at each of its pixels ``(64, 64)``: 1, and at its border less and less."""
    at = torch.arange(SIDE) + 0.5
    line = (at.minimum(SIDE - at) / FADED).clamp(max=1)
    return line[:, None] * line


@dataclass(frozen=True)
class Place:
    """Where the images of one prompt are laid, and on what: always the same.

    Attributes:
        ground: ``(3, 128, 128)``.
        top, left: of the image's corner.
    """

    ground: Tensor
    top: int
    left: int

    @classmethod
    def of(cls, text: str) -> Place:
        seed = noise_seed(f"canvas of {text}", 0)
        empty = render(Scene((), Caption((Phrase("red", "ring"),)), seed), clutter=CLUTTER)
        top, left = (int(each) for each in np.random.default_rng(seed).integers(0, CANVAS - SIDE + 1, 2))
        return cls(resize(empty[None], (CANVAS, CANVAS), "bicubic")[0].clamp(0, 1), top, left)

    def laid(self, images: Tensor) -> Tensor:
        """Canvases ``(B, 3, 128, 128)`` with images ``(B, 3, 64, 64)``, differentiable in them."""
        border = (self.left, CANVAS - SIDE - self.left, self.top, CANVAS - SIDE - self.top)
        seen, wide = torch.nn.functional.pad(fade(), border), torch.nn.functional.pad(images, border)
        return self.ground + seen * (wide - self.ground)


class LowResolution:
    """The reward as the pack's rewards are: vectors of images ``(B, 3, h, w)`` and of prompts, whose sizes it does not read."""

    def __init__(self, model: RewardWithHead, reads: int) -> None:
        self._model, self.image_size = model, reads

    def encode_image(self, images: Tensor) -> Tensor:
        seen: Tensor = self._model.look(reduced(images, self.image_size))[0]
        return seen

    def encode_text(self, prompts: list[str]) -> Tensor:
        return self._model.read([[unsized(parse(prompt))] for prompt in prompts])[:, 0]


def unsized(caption: Caption) -> Caption:
    """The same without sizes, which mean nothing in a window."""
    return replace(caption, phrases=tuple(replace(phrase, size=None) for phrase in caption.phrases))


class Looks:
    """Ways to score images of one prompt by a reward that reads ``reads`` of the canvas's pixels.

    ``WHOLE``: the cosine of the whole canvas with the prompt. Windows, two where a map has most mass: the mean of that and of the phrases'
    cosines, each with the window that shows it best. ``PHRASES``: the same without windows, each phrase with the whole canvas. ``NODE``: as
    Saliency CLIP Loss scores it that is told the prompt alone and has the saliency model that it would take.
    """

    def __init__(self, model: RewardWithHead, maps: Maps, text: str, reads: int) -> None:
        caption = unsized(parse(text))
        with torch.no_grad():
            self._prompt, *self._phrases = model.read([[caption, *(Caption((phrase,)) for phrase in caption.phrases)]])[0]
        self._node = SaliencyCLIPLoss(LowResolution(model, reads), [text], saliency=registry.load(DEFAULT))
        self._embed: Callable[[Tensor], Tensor] = lambda seen: model.look(reduced(seen, reads))[0]
        self._maps, self._reads, self._place, self._seed = maps, reads, Place.of(text), noise_seed(text, 7)

    @property
    def ways(self) -> list[str]:
        return [WHOLE, PHRASES, RANDOM, NODE, *(f"windows: {name}" for name in self._maps)]

    def scores(self, images: Tensor, ways: Sequence[str]) -> dict[str, Tensor]:
        """``(B,)`` each of images ``(B, 3, 64, 64)``."""
        canvas = self._place.laid(images.clamp(0, 1))
        whole = self._embed(canvas)
        found = {WHOLE: whole @ self._prompt, PHRASES: self._together(whole, [whole])}
        if NODE in ways:
            found[NODE] = -self._node(canvas, Context()).losses
        for way in ways:
            if way not in found:
                seen = [self._embed(sample_window(canvas, place, (self._reads,) * 2)) for place in self._windows(way, canvas)]
                found[way] = self._together(whole, seen)
        return {way: found[way] for way in ways}

    def _together(self, whole: Tensor, seen: list[Tensor]) -> Tensor:
        phrases = [torch.stack([each @ phrase for each in seen]).amax(0) for phrase in self._phrases]
        return (whole @ self._prompt + torch.stack(phrases).mean(0)) / 2

    @torch.no_grad()
    def _windows(self, way: str, canvas: Tensor) -> list[Tensor]:
        if way != RANDOM:
            return peak_windows(self._maps[way.removeprefix("windows: ")](canvas), (self._reads, self._reads), WINDOW_COUNT)
        generator = torch.Generator().manual_seed(self._seed)
        corners = torch.randint(0, CANVAS - self._reads + 1, (WINDOW_COUNT, len(canvas), 2), generator=generator)
        return [torch.cat([corner, corner + self._reads], dim=1).float() for corner in corners]


class LooksLoss:
    """1 minus the score by one way, as an objective for a batch with a prompt each."""

    def __init__(self, looks: Sequence[Looks], way: str) -> None:
        self._looks, self._way = looks, way

    def begin(self) -> None:
        """Nothing is cached."""

    def augmented(self, *_: object) -> LooksLoss:
        return self

    def __call__(self, images: Tensor, context: Context) -> Scored:
        own = itertools.islice(self._looks, context.index, context.index + len(images))
        found = [looks.scores(image[None], [self._way])[self._way] for looks, image in zip(own, images, strict=True)]
        return Scored(1 - torch.cat(found))
