"""The loss of SGOOL: how far an image, and the part of it that people look at, is from what was asked for."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..image_ops.resize import resize
from .augmentations import Augmentations
from .distances import DISTANCES, Distance, contrast
from .encoders import ImageTextEncoder, check_widths, plain_prompts
from .objective import Context, Objective, Scored, WeightedSum
from .regions import REGIONS, Region

Saliency = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossSettings:
    """How the loss is put together. The paper does not give the weights, the cutouts or how often saliency is predicted: see docs.

    Attributes:
        w_global: weight of the whole image's distance to the prompt, >= 0.
        w_salient: weight of the salient region's distance to the salient prompt, >= 0. 0 is DOODL's text guidance, and no saliency is
            predicted.
        w_negative: weight of the contrast with the negative prompts, >= 0.
        region: how the salient part is shown to the encoder, see ``regions``. Multiplying is the paper's; with maps that are not masks it
            blinded the demo model's scorer, so it is not the default (docs/does-it-work.md).
        distance: ``"great circle"``, 2 arcsin(|u - v| / 2)^2 as in DOODL, or ``"cosine"``, 1 - u.v.
        augmentations: which augmentations are scored.
        reduce: ``"mean"`` over the augmentations, or their ``"minimum"`` as DOODL does.
        detach_saliency: whether the map is taken as given. Otherwise the gradient also says how to move people's eyes.
        saliency_every: the map is predicted anew in every n-th iteration, and kept in between.
    """

    w_global: float = 1.0
    w_salient: float = 1.0
    w_negative: float = 1.0
    region: Region = "blur surroundings"
    distance: Distance = "great circle"
    augmentations: Augmentations = field(default_factory=Augmentations)
    reduce: str = "mean"
    detach_saliency: bool = True
    saliency_every: int = 1

    def __post_init__(self) -> None:
        for name in ("w_global", "w_salient", "w_negative"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} is {value}; it has to be a finite number, 0 or more.")
        for name, value, known in (
            ("region", self.region, REGIONS),
            ("distance", self.distance, DISTANCES),
            ("reduce", self.reduce, ("mean", "minimum")),
        ):
            if value not in known:
                raise ValueError(f"There is no {name} called {value!r}; choose one of {', '.join(known)}.")
        if self.saliency_every < 1:
            raise ValueError(f"saliency_every is {self.saliency_every}; it has to be 1 (predict in every iteration) or more.")


class SaliencyCLIPLoss:
    """``w_global d(E(I), E(prompt)) + w_salient d(E(region(I, S)), E(salient prompt)) + w_negative contrast``, one loss per image.

    ``I`` is the image, ``S`` its saliency map and ``d`` a distance of unit vectors. After SGOOL (arXiv 2410.10257), which the first two
    terms follow; the text guidance without saliency is DOODL's (arXiv 2303.13703). The contrast is of this project.

    Args:
        encoder: embeds prompts and images.
        prompts: one for all images, or one for each image of the run's batch.
        saliency: predicts maps ``(B, 1, H, W)`` in [0, 1] from images; or a fixed map ``(n, 1, h, w)`` or ``(n, h, w)`` of any size,
            n being 1 or the size of the batch; or ``None`` if ``w_salient`` is 0.
        salient_prompts: the same for the salient region; the prompts where ``None``.
        negative_prompts: what no image of the batch is to look like.
        settings: see ``LossSettings``.

    Raises:
        ValueError: an empty prompt, a fixed map that is empty, no saliency where its weight is above zero, or nothing to optimize.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        prompts: Sequence[str],
        *,
        saliency: Saliency | Tensor | None = None,
        salient_prompts: Sequence[str] | None = None,
        negative_prompts: Sequence[str] = (),
        settings: LossSettings | None = None,
    ) -> None:
        self.settings = settings or LossSettings(w_salient=0.0 if saliency is None else 1.0)
        self.encoder = encoder
        self.prompts = plain_prompts(prompts, "prompt")
        self.salient_prompts = plain_prompts(salient_prompts, "salient prompt") if salient_prompts is not None else self.prompts
        self.negative_prompts = plain_prompts(negative_prompts, "negative prompt") if self.settings.w_negative else []
        if not self.prompts or not self.salient_prompts:
            raise ValueError("There is no prompt; give one for all images or one for each.")
        if not (self.settings.w_global or self.settings.w_salient or self.negative_prompts):
            raise ValueError("All weights of the loss are zero, so there is nothing to optimize; set w_global or w_salient above zero.")
        if self.settings.w_salient and saliency is None:
            raise ValueError("w_salient is above zero, but there is no saliency model and no mask; give one, or set w_salient to 0.")
        self.saliency = _checked_mask(saliency) if isinstance(saliency, Tensor) else saliency
        self._texts: dict[str, Tensor] = {}
        self._maps: dict[int, Tensor] = {}

    def with_settings(self, settings: LossSettings) -> SaliencyCLIPLoss:
        """The same loss with augmentations, reduction, region or distance changed; weights that were 0 have to stay 0."""
        changed = copy.copy(self)
        changed.settings, changed._maps = settings, {}
        return changed

    def begin(self) -> None:
        """Forget the maps of an earlier run."""
        self._maps.clear()

    def __call__(self, images: Tensor, context: Context) -> Scored:
        """Score ``(B, 3, H, W)`` images in [0, 1].

        The parts are ``"global"``, ``"salient"`` and ``"negative"``, each before its weight, and ``"similarity"``, the mean cosine of the
        whole image's augmentations with the prompt. Parts of weight 0 are left out.

        Raises:
            ValueError: if there are neither one nor as many prompts (or fixed maps) as images.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"The images have the shape {tuple(images.shape)}; (B, 3, H, W) is expected.")
        positions = context.positions(len(images))
        size = (images.shape[-2], images.shape[-1])
        augmentations = self.settings.augmentations.draw(*size, getattr(self.encoder, "image_size", 224), context.generator)
        embed = _AugmentedEmbedder(self.encoder, augmentations)
        losses = images.new_zeros(len(images), dtype=torch.promote_types(images.dtype, torch.float32))
        parts: dict[str, Tensor] = {}
        if self.settings.w_global or self.negative_prompts:
            losses = losses + self._of_the_whole(embed(images), positions, context, parts).to(losses)
        maps = None
        if self.settings.w_salient:
            maps = self._salient_maps(images, positions, context)
            salient = self._distance(embed(REGIONS[self.settings.region](images, maps)), self.salient_prompts, positions, context)
            parts["salient"] = salient.detach()
            losses = losses + self.settings.w_salient * salient.to(losses)
        return Scored(losses, parts, None if maps is None else maps.detach())

    def _of_the_whole(self, embedded: Tensor, positions: list[int], context: Context, parts: dict[str, Tensor]) -> Tensor:
        wanted = self._texts_for(self.prompts, positions, context, embedded)
        parts["similarity"] = (embedded * wanted).sum(-1).mean(0).detach()
        loss = embedded.new_zeros(embedded.shape[1])
        if self.settings.w_global:
            distance = self._distance(embedded, self.prompts, positions, context)
            parts["global"] = distance.detach()
            loss = loss + self.settings.w_global * distance
        if self.negative_prompts:
            unwanted = torch.cat([self._text(prompt, embedded) for prompt in self.negative_prompts])
            away = contrast(embedded, wanted, unwanted).mean(0)
            parts["negative"] = away.detach()
            loss = loss + self.settings.w_negative * away
        return loss

    def _distance(self, embedded: Tensor, prompts: list[str], positions: list[int], context: Context) -> Tensor:
        """``(B,)`` from ``(augmentations, B, d)``."""
        distances = DISTANCES[self.settings.distance](embedded, self._texts_for(prompts, positions, context, embedded))
        return distances.mean(0) if self.settings.reduce == "mean" else distances.amin(0)

    def _texts_for(self, prompts: list[str], positions: list[int], context: Context, like: Tensor) -> Tensor:
        rows = _choose(len(prompts), positions, context, "prompts")
        return torch.cat([self._text(prompts[row], like) for row in rows])

    def _text(self, prompt: str, like: Tensor) -> Tensor:
        if prompt not in self._texts:
            # A copy made outside of inference mode is an ordinary tensor, which can be saved for the backward pass.
            with torch.inference_mode(False):
                self._texts[prompt] = self.encoder.encode_text([prompt]).detach().clone()
            check_widths(self._texts[prompt], like)
        return self._texts[prompt].to(like)

    def _salient_maps(self, images: Tensor, positions: list[int], context: Context) -> Tensor:
        size = (images.shape[-2], images.shape[-1])
        if isinstance(self.saliency, Tensor):
            rows = _choose(len(self.saliency), positions, context, "masks")
            return resize(self.saliency[rows].to(images), size).clamp(0, 1)
        kept = [self._maps.get(position) for position in positions]
        if context.iteration % self.settings.saliency_every and all(map_ is not None and map_.shape[-2:] == size for map_ in kept):
            return torch.stack([map_ for map_ in kept if map_ is not None]).to(images)
        assert self.saliency is not None  # __init__ refuses a weight without it
        maps = self.saliency(images.detach() if self.settings.detach_saliency else images)
        if maps.shape != (len(images), 1, *size):
            raise ValueError(f"The saliency model gave maps of the shape {tuple(maps.shape)} for images of {tuple(images.shape)}.")
        maps = (maps.detach() if self.settings.detach_saliency else maps).to(images)
        if self.settings.saliency_every > 1:
            self._maps.update(zip(positions, maps.detach().clone().unbind(0), strict=True))
        return maps


def clip_losses(objective: Objective) -> list[SaliencyCLIPLoss]:
    """The Saliency CLIP Losses of an objective: itself, or the terms of a sum, however deep."""
    if isinstance(objective, WeightedSum):
        return [loss for _, term in objective.terms for loss in clip_losses(term)]
    return [objective] if isinstance(objective, SaliencyCLIPLoss) else []


def with_cutouts(objective: Objective, count: int, cut_power: float, reduce: str, region: Region | None = None) -> Objective:
    """The objective with every Saliency CLIP Loss in it scored on ``count`` random cutouts; other terms stay as they are.

    A ``region`` replaces theirs.

    A changed copy, which shares the encoder and the prompts' embeddings; the objective itself where there is nothing to change.
    """
    if isinstance(objective, WeightedSum):
        terms = [(weight, with_cutouts(term, count, cut_power, reduce, region)) for weight, term in objective.terms]
        return WeightedSum(terms) if any(new is not old for (_, new), (_, old) in zip(terms, objective.terms, strict=True)) else objective
    if not isinstance(objective, SaliencyCLIPLoss):
        return objective
    augmentations = replace(objective.settings.augmentations, kind="cutouts", count=count, cut_power=cut_power)
    settings = replace(objective.settings, augmentations=augmentations, reduce=reduce, region=region or objective.settings.region)
    return objective if settings == objective.settings else objective.with_settings(settings)


class _AugmentedEmbedder:
    """Shows images to the encoder through the same augmentations each time, augmentations of one size together."""

    def __init__(self, encoder: ImageTextEncoder, augmentations: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self.encoder, self.views = encoder, augmentations

    def __call__(self, images: Tensor) -> Tensor:
        """``(augmentations, B, d)`` for ``(B, 3, H, W)``."""
        seen = [augmentation(images) for augmentation in self.views]
        if all(images.shape == seen[0].shape for images in seen):
            return self.encoder.encode_image(torch.cat(seen)).unflatten(0, (len(seen), len(images)))
        return torch.stack([self.encoder.encode_image(images) for images in seen])


def _choose(count: int, positions: list[int], context: Context, what: str) -> list[int]:
    """Which of ``count`` prompts or masks belongs to each image: the only one, or the one of its place in the run's batch."""
    if count == 1:
        return [0] * len(positions)
    known = len(positions) if context.indices is None else context.batch_size
    images = max(max(positions) + 1, len(positions)) if known is None else known
    if max(positions) >= count or (known is not None and known != count):
        raise ValueError(
            f"There are {count} {what} for {images} image{'s' if images > 1 else ''}; give one for all images, or one for each."
        )
    return positions


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
