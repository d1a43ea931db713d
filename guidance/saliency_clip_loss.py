"""The loss of SGOOL: how far an image, and the part of it that people look at, is from what was asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..image_ops.resize import resize
from ..schema.prompts import plain_prompts, prompts_for
from ..schema.ranged import Ranged, choice, count, flag, number
from . import phrases
from .augmentations import Augmentations
from .distances import DISTANCES
from .fit import Augment, EncoderFit, Fit, RewardFit
from .objective import Context, Objective, Scored
from .regions import AUTOMATIC, BLURRED, OVERLOOKS_FROM, REGIONS, WINDOWS, full_resolution, overlooked

Saliency = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossSettings(Ranged):
    """How the loss is put together. The paper does not give the weights, the cutouts or how often saliency is predicted: see
    docs/guidance.md. Multiplying the image by the map is the paper's region; with maps that are not masks it blinded the demo model's
    reward, so it is not the default (docs/does-it-work.md). ``automatic`` is ``windows`` where they were measured to help: places are
    predicted, the reward has vectors, and an image is much larger than what it reads; elsewhere it is ``blur surroundings``.

    Args:
        augmentations: what is scored.

    Raises:
        ValueError: for a value outside its field's range.
    """

    w_global: float = number(1.0, at_least=0, help="Weight of the whole image.")
    w_salient: float = number(
        1.0,
        at_least=0,
        help="Weight of the salient part, which counts where a saliency model, a mask or a salient prompt is given. 0 is plain "
        "guidance, as in DOODL.",
    )
    w_negative: float = number(1.0, at_least=0, help="Weight of the negative prompts.")
    region: str = choice(
        AUTOMATIC,
        (AUTOMATIC, *REGIONS, WINDOWS),
        help="How the salient part is shown to the reward: the image times the map (the paper's filter), with blurred surroundings, "
        "cropped to where the map's mass is, or as two windows at the resolution that the reward reads. automatic: windows where the "
        f"image is {OVERLOOKS_FROM} times as wide as that or more, elsewhere blurred surroundings.",
    )
    distance: str = choice(
        "great circle",
        tuple(DISTANCES),
        help="Between image and prompt, for rewards that are a cosine: the squared great-circle distance, as in DOODL, or 1 - cosine.",
    )
    augmentations: Augmentations = field(default_factory=Augmentations)
    reduce: str = choice("mean", ("mean", "minimum"), help="Over the augmentations: their mean, or the best one, as in DOODL.")
    detach_saliency: bool = flag(True, help="On: the map is taken as given. Off: the gradient also says how to make people look elsewhere.")
    saliency_every: int = count(1, at_least=1, help="Saliency is predicted again in every n-th iteration, and kept in between.")


class SaliencyCLIPLoss:
    """``w_global d(E(I), E(prompt)) + w_salient d(E(region(I, S)), E(salient prompt)) + w_negative contrast``, one loss per image.

    ``I`` is the image, ``S`` its saliency map and ``d`` a distance of unit vectors. After SGOOL (arXiv 2410.10257), which the first two
    terms follow; the text guidance without saliency is DOODL's (arXiv 2303.13703). The contrast is of this project, and so
    is ``d = -reward`` for rewards without vectors.

    Args:
        reward: ``(images, prompts) -> (B,)``, higher is better. Of one that has ``encode_text`` and ``encode_image`` the distances of
            the vectors are taken; of any other, its negative. For one with ``reads_prompts = False`` prompts may be empty, and negative
            ones are left out.
        prompts: one for all images, or one for each image of the run's batch.
        saliency: predicts maps ``(B, 1, H, W)`` in [0, 1] from images; or a fixed map ``(n, 1, h, w)`` or ``(n, h, w)`` of any size,
            n being 1 or the size of the batch; or ``None``, and the salient term does not count.
        salient_prompts: the same for the salient region; the prompts where ``None``. With windows each phrase is held against the window
            that shows it best: phrases between semicolons, or without salient prompts those that the prompts are made of.
        negative_prompts: what no image of the batch is to look like.
        settings: see ``LossSettings``.

    Attributes:
        last_maps: what was salient ``(1, H, W)`` in each image when it was last scored in this run, by its place in the batch.

    Raises:
        ValueError: an empty prompt, a fixed map that is empty, or nothing to optimize.
    """

    def __init__(
        self,
        reward: Any,
        prompts: Sequence[str],
        *,
        saliency: Saliency | Tensor | None = None,
        salient_prompts: Sequence[str] | None = None,
        negative_prompts: Sequence[str] = (),
        settings: LossSettings | None = None,
    ) -> None:
        self.settings = settings or LossSettings()
        self.reward = reward
        self.prompts = prompts_for(reward, prompts, "prompt")
        self.salient_prompts = prompts_for(reward, salient_prompts, "salient prompt") if salient_prompts is not None else self.prompts
        self._phrases = phrases.named_in if salient_prompts is None else phrases.given
        contrasts = self.settings.w_negative and getattr(reward, "reads_prompts", True)
        self.negative_prompts = plain_prompts(negative_prompts, "negative prompt") if contrasts else []
        if not self.prompts or not self.salient_prompts:
            raise ValueError("There is no prompt; give one for all images or one for each.")
        if not (self.settings.w_global or self.scores_salient_part(saliency) or self.negative_prompts):
            raise ValueError("All weights of the loss are zero, so there is nothing to optimize; set w_global or w_salient above zero.")
        self.saliency = _checked_mask(saliency) if isinstance(saliency, Tensor) else saliency
        self._fit = _fit(reward, self.settings.distance)
        self._maps: dict[tuple[int, int], Tensor] = {}
        self.last_maps: dict[int, Tensor] = {}
        self._larger_by: set[float] = set()  # than what is read: images of this run that windows were taken of. Shared by copies

    @property
    def name(self) -> str:
        """How a sum of objectives calls it: its reward's name."""
        return str(getattr(self.reward, "name", ""))

    @property
    def _reads(self) -> int:
        return int(getattr(self.reward, "image_size", 224))

    def region_for(self, images: Tensor) -> str:
        """How the salient part of ``images (B, 3, H, W)`` is shown: the settings' region, and what ``automatic`` comes to."""
        if self.settings.region != AUTOMATIC:
            return self.settings.region
        windows = not isinstance(self.saliency, Tensor) and _has_vectors(self.reward) and overlooked(images, self._reads)
        return WINDOWS if windows else BLURRED

    def _predictor(self, images: Tensor) -> Saliency:
        """Windows are put where things are: a prior that people look at the middle cost their gain (docs/experiments.md), so that they do
        without, where a predictor can."""
        assert callable(self.saliency)
        without: Callable[[], Saliency] | None = getattr(self.saliency, "without_center", None)
        return self.saliency if without is None or self.region_for(images) != WINDOWS else without()

    def scores_salient_part(self, saliency: Any) -> bool:
        """Whether the salient term counts: it has a weight, and somebody said what is salient."""
        return saliency is not None and self.settings.w_salient > 0

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Objective:
        """The same loss on other augmentations, see :class:`Objective`; shares the reward and the prompts' vectors."""
        settings = replace(self.settings, augmentations=augmentations, reduce=reduce, region=region or self.settings.region)
        if settings == self.settings:
            return self
        changed = copy.copy(self)
        changed.settings, changed._maps, changed.last_maps = settings, {}, {}
        return changed

    def measured_by(self, distance: str) -> SaliencyCLIPLoss:
        """The same loss with another distance between vectors; a copy."""
        changed = copy.copy(self)
        changed.settings, changed._fit = replace(self.settings, distance=distance), _fit(self.reward, distance)
        changed._maps, changed.last_maps = {}, {}
        return changed

    def begin(self) -> None:
        """Forget an earlier run: its maps, and what there was to say of it."""
        self._maps.clear()
        self.last_maps.clear()
        self._larger_by.clear()

    def remarks(self) -> list[str]:
        """What the region ``automatic`` came to since ``begin``, where that was windows."""
        return [
            f"The salient part was shown to the reward in windows, since the images are {times:.1f} times as large as the {self._reads} "
            f"pixels that it reads (region {AUTOMATIC})."
            for times in sorted(self._larger_by)
        ]

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Score ``(B, 3, H, W)`` images in [0, 1].

        The parts are ``"global"``, ``"salient"`` and ``"negative"``, each before its weight, and ``"similarity"``, the mean cosine of the
        whole image's augmentations with the prompt. Parts of weight 0 are left out.

        Raises:
            ValueError: if there are neither one nor as many prompts (or fixed maps) as images.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"The images have the shape {tuple(images.shape)}; (B, 3, H, W) is expected.")
        settings, size = self.settings, (images.shape[-2], images.shape[-1])
        augmentations = settings.augmentations.draw(*size, self._reads, context.generator)
        losses = images.new_zeros(len(images), dtype=torch.promote_types(images.dtype, torch.float32))
        parts: dict[str, Tensor] = {}
        if settings.w_global or self.negative_prompts:
            seen = self._fit.look(images, augmentations)
            losses = losses + self._of_the_whole(seen, len(images), context, parts).to(losses)
        if self.scores_salient_part(self.saliency):
            maps = self.salient_maps(images, context)
            self.last_maps.update(enumerate(maps.detach().unbind(0), start=context.index))
            prompts = self._chosen(self.salient_prompts, len(images), context)
            salient = self._reduced(self._of_the_salient(images, maps, prompts, augmentations))
            parts["salient"] = salient.detach()
            losses = losses + settings.w_salient * salient.to(losses)
        return Scored(losses, parts)

    def _of_the_salient(self, images: Tensor, maps: Tensor, prompts: list[str], augmentations: Sequence[Augment]) -> Tensor:
        """Distances ``(augmentations, B)``; of windows the mean over a prompt's phrases, each held against the window that fits it best."""
        region = self.region_for(images)
        if region != WINDOWS:
            return self._fit.distance(self._fit.look(REGIONS[region](images, maps), augmentations), prompts)
        if self.settings.region == AUTOMATIC:
            self._larger_by.add(min(images.shape[-2:]) / self._reads)
        seen = [self._fit.look(each, augmentations) for each in full_resolution(images, maps, self._reads)]
        every = [self._phrases(prompt) for prompt in prompts]
        most = max(map(len, every))
        columns = [[own[number % len(own)] for own in every] for number in range(most)]
        best = torch.stack([torch.stack([self._fit.distance(each, texts) for each in seen]).amin(0) for texts in columns])
        counts = torch.tensor([[float(number < len(own)) for own in every] for number in range(most)]).to(best)
        return (best * counts[:, None]).sum(0) / counts.sum(0)

    def _of_the_whole(self, seen: object, images: int, context: Context, parts: dict[str, Tensor]) -> Tensor:
        prompts = self._chosen(self.prompts, images, context)
        name, value = self._fit.measure(seen, prompts)
        parts[name] = value.detach()
        loss = torch.zeros_like(value)
        if self.settings.w_global:
            distance = self._reduced(self._fit.distance(seen, prompts))
            parts["global"] = distance.detach()
            loss = loss + self.settings.w_global * distance
        if self.negative_prompts:
            negative = self._fit.contrast(seen, prompts, self.negative_prompts).mean(0)
            parts["negative"] = negative.detach()
            loss = loss + self.settings.w_negative * negative
        return loss

    def _reduced(self, distances: Tensor) -> Tensor:
        """``(B,)`` from ``(augmentations, B)``."""
        return distances.mean(0) if self.settings.reduce == "mean" else distances.amin(0)

    @staticmethod
    def _chosen(prompts: list[str], images: int, context: Context) -> list[str]:
        return [prompts[row] for row in context.choose(len(prompts), images, "prompts")]

    def salient_maps(self, images: Tensor, context: Context) -> Tensor:
        """The map of each image, ``(B, 1, H, W)`` in [0, 1]: predicted, kept from an earlier iteration, or the mask given."""
        size = (images.shape[-2], images.shape[-1])
        if isinstance(self.saliency, Tensor):
            rows = context.choose(len(self.saliency), len(images), "masks")
            return resize(self.saliency[rows].to(images), size).clamp(0, 1)
        places = [(place, context.frame) for place in range(context.index, context.index + len(images))]
        kept = [self._maps.get(place) for place in places]
        if context.iteration % self.settings.saliency_every and all(map_ is not None and map_.shape[-2:] == size for map_ in kept):
            return torch.stack([map_ for map_ in kept if map_ is not None]).to(images)
        maps = self._predictor(images)(images.detach() if self.settings.detach_saliency else images)
        if maps.shape != (len(images), 1, *size):
            raise ValueError(f"The saliency model gave maps of the shape {tuple(maps.shape)} for images of {tuple(images.shape)}.")
        maps = (maps.detach() if self.settings.detach_saliency else maps).to(images)
        if self.settings.saliency_every > 1:
            self._maps.update(zip(places, maps.detach().clone().unbind(0), strict=True))
        return maps


def _has_vectors(reward: Any) -> bool:
    return hasattr(reward, "encode_image") and hasattr(reward, "encode_text")


def _fit(reward: Any, distance: str) -> Fit:
    return EncoderFit(reward, distance) if _has_vectors(reward) else RewardFit(reward)


def _checked_mask(mask: Tensor) -> Tensor:
    if mask.ndim == 3:
        mask = mask[:, None]
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.numel() == 0:
        raise ValueError(f"The mask has the shape {tuple(mask.shape)}; (n, 1, h, w) or (n, h, w) is expected, n being 1 or the batch size.")
    with torch.inference_mode(False):
        mask = mask.detach().clone()
    empty = [number for number, each in enumerate(mask, start=1) if not bool((each > 0).any())]
    if empty:
        which = f"Mask {empty[0]} of {len(mask)}" if len(mask) > 1 else "The mask"
        raise ValueError(f"{which} is empty: nothing in it is above zero, so nothing is salient. Paint the part that matters.")
    return mask
