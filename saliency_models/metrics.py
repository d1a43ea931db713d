"""How well a saliency map agrees with where people looked, or with another map.

All metrics take maps (B, 1, H, W), (B, H, W) or (H, W) of any real dtype, compute in float64 and return one number per image,
(B,) float64 on the maps' device; they are not differentiable. Names and formulas follow Bylinskii, Judd, Oliva, Torralba,
Durand, "What Do Different Evaluation Metrics Tell Us About Saliency Models?", PAMI 2019, and its MATLAB code (cvzoya/saliency,
``code_forMetrics``); the numbers are those of pysaliency wherever it defines the same thing, which each docstring says.

Without fixations a fixation metric is NaN for that image, so that it is seen and can be left out of a mean (``nanmean``). A map of
zeros stands for the uniform density. A constant map has no correlation with anything (0) and an AUC of 0.5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .fixations import Fixations, as_maps, as_points

EPSILON = 2.2204e-16
"""The MATLAB code's ``eps``, and the regularization of the MIT/Tuebingen benchmark's KLD."""


def _per_image(maps: Tensor, fixations: Fixations, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Apply ``score(map (H, W), rows and columns (N, 2))`` to each image; NaN where there are no fixations."""
    single = as_maps(maps)
    points = as_points(fixations, single.shape[0], (single.shape[1], single.shape[2]))
    nan = single.new_tensor(float("nan"))
    return torch.stack([score(one, places.to(one.device)) if len(places) else nan for one, places in zip(single, points, strict=True)])


def _values(single: Tensor, places: Tensor) -> Tensor:
    return single[places[:, 0], places[:, 1]]


def _is_constant(maps: Tensor) -> Tensor:
    """(B,) whether each (H, W) map's values differ by no more than rounding."""
    flat = maps.flatten(-2)
    return (flat.amax(-1) - flat.amin(-1)) <= 1e-12 * flat.abs().amax(-1)


def _roc_area(positives: Tensor, negatives: Tensor, thresholds: Tensor) -> Tensor:
    """Area under (false, true positive rate) at descending ``thresholds``, from (0, 0) to (1, 1), by the trapezoid rule."""
    if len(negatives) == 0:
        return positives.new_tensor(float("nan"))
    ascending_positives, ascending_negatives = positives.sort().values, negatives.sort().values
    # Values >= threshold are those from the first place where it could be inserted.
    hits = 1 - torch.searchsorted(ascending_positives, thresholds).double() / len(positives)
    alarms = 1 - torch.searchsorted(ascending_negatives, thresholds).double() / len(negatives)
    zero, one = hits.new_zeros(1), hits.new_ones(1)
    return torch.trapezoid(torch.cat([zero, hits, one]), torch.cat([zero, alarms, one]))


def auc_judd(maps: Tensor, fixations: Fixations) -> Tensor:
    """Area under the ROC curve; thresholds are the fixated values, negatives all pixels without a fixation.

    Equal to pysaliency's ``AUC_Judd(jitter=False)``. The MATLAB code adds noise of 1e-7 to break ties, which makes its result depend
    on chance; here ties count as the trapezoid between them, half. 0.5 for a constant map; NaN where every pixel is fixated.
    """

    def score(single: Tensor, places: Tensor) -> Tensor:
        looked = torch.zeros_like(single, dtype=torch.bool)
        looked[places[:, 0], places[:, 1]] = True
        positives = _values(single, places)
        return _roc_area(positives, single[~looked], positives.sort(descending=True).values)

    return _per_image(maps, fixations, score)


def auc_borji(maps: Tensor, fixations: Fixations, splits: int = 100, step: float = 0.1, generator: torch.Generator | None = None) -> Tensor:
    """Mean area under the ROC curve over random negatives: as many uniformly drawn pixels as there are fixations, ``splits`` times.

    The map is scaled to [0, 1]; the thresholds go down in ``step`` from its larger of fixated and drawn values, as in the MATLAB code.
    pysaliency has no such draw: its ``AUC(nonfixations="uniform")`` takes every pixel as a negative and every value as a threshold,
    which this approaches with many splits and a small step.

    Args:
        maps: see the module.
        fixations: see ``Fixations``.
        splits: number of draws.
        step: between thresholds.
        generator: of the draws, on the CPU; None is one seeded with 0, so that the result is the same each time.
    """
    if splits < 1 or not 0 < step <= 1:
        raise ValueError(f"AUC-Borji needs at least one split and a step in (0, 1]; got {splits} and {step}.")
    generator = generator if generator is not None else torch.Generator().manual_seed(0)

    def score(single: Tensor, places: Tensor) -> Tensor:
        scaled = _to_unit_range(single[None])[0]
        positives, flat = _values(scaled, places), scaled.flatten()
        areas = []
        for _ in range(splits):
            negatives = flat[torch.randint(flat.numel(), (len(positives),), generator=generator).to(flat.device)]
            top = float(torch.maximum(positives.max(), negatives.max()))
            thresholds = torch.arange(0, top + step * 1e-9, step, dtype=torch.float64, device=flat.device).flip(0)
            areas.append(_roc_area(positives, negatives, thresholds))
        return torch.stack(areas).mean()

    return _per_image(maps, fixations, score)


def auc_shuffled(maps: Tensor, fixations: Fixations, others: Fixations) -> Tensor:
    """Area under the ROC curve whose negatives are other images' fixations, so that a center bias gains nothing.

    Equal to pysaliency's ``AUC(nonfixations="shuffled")`` given its negatives: all other fixations are negatives and all values
    thresholds, so it is the probability that a fixation's value is above a negative's, ties counting half. The MATLAB code
    estimates that with 100 random splits and thresholds 0.1 apart.

    Args:
        maps: see the module.
        fixations: of the images.
        others: for each image the negatives, in its coordinates, with repetitions if places come twice.
    """
    single = as_maps(maps)
    size = (single.shape[1], single.shape[2])
    scores = []
    for one, places, other in zip(single, as_points(fixations, len(single), size), as_points(others, len(single), size), strict=True):
        if len(places) == 0 or len(other) == 0:
            scores.append(one.new_tensor(float("nan")))
            continue
        positives, negatives = _values(one, places.to(one.device)), _values(one, other.to(one.device))
        scores.append(_roc_area(positives, negatives, torch.cat([positives, negatives]).sort(descending=True).values))
    return torch.stack(scores)


def nss(maps: Tensor, fixations: Fixations) -> Tensor:
    """Normalized scanpath saliency: the mean over fixations of the map less its mean, over its standard deviation.

    Equal to the mean of pysaliency's ``NSS``: the standard deviation of all pixels (ddof 0), where the MATLAB code divides by n - 1, a
    relative difference of 1/(2 n) for n pixels. 0 for a constant map.
    """

    def score(single: Tensor, places: Tensor) -> Tensor:
        if bool(_is_constant(single)):
            return single.new_zeros(())
        return ((_values(single, places) - single.mean()) / single.std(correction=0)).mean()

    return _per_image(maps, fixations, score)


def _pair(maps: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    first, second = as_maps(maps), as_maps(truth, "reference map")
    if first.shape != second.shape:
        raise ValueError(
            f"The saliency maps are {tuple(first.shape)} and the reference maps {tuple(second.shape)} (batch, height, width); "
            "they must be alike. Resize one of them."
        )
    return first, second.to(first.device)


def cc(maps: Tensor, truth: Tensor) -> Tensor:
    """Pearson's correlation of the pixels of two maps, in [-1, 1].

    Equal to pysaliency's ``CC``, except that any constant map gives 0 here; there NaN, if the second is constant.
    """
    first, second = _pair(maps, truth)
    a, b = (one.flatten(1) - one.flatten(1).mean(1, keepdim=True) for one in (first, second))
    constant = _is_constant(first) | _is_constant(second)
    spread = torch.sqrt((a * a).sum(1) * (b * b).sum(1))
    return torch.where(constant, torch.zeros_like(spread), (a * b).sum(1) / torch.where(constant, torch.ones_like(spread), spread))


def _to_unit_range(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    constant = _is_constant(maps)[..., None, None]
    return torch.where(constant, torch.zeros_like(maps), (maps - low) / torch.where(constant, torch.ones_like(high), high - low))


def as_density(maps: Tensor) -> Tensor:
    """Scale each (H, W) map of (B, H, W) to sum 1, after raising its minimum to 0 if that is negative; zeros become uniform."""
    raised = maps - maps.amin(dim=(-2, -1), keepdim=True).clamp(max=0)
    total = raised.sum(dim=(-2, -1), keepdim=True)
    empty = total <= 0
    uniform = torch.full_like(raised, 1 / (raised.shape[-2] * raised.shape[-1]))
    return torch.where(empty, uniform, raised / torch.where(empty, torch.ones_like(total), total))


def sim(maps: Tensor, truth: Tensor, unit_range: bool = True) -> Tensor:
    """Histogram intersection: the sum of the smaller of two densities at each pixel, 1 for equal ones.

    Args:
        maps: see the module.
        truth: maps of the same shape.
        unit_range: scale both to [0, 1] before normalizing the sum, as the MATLAB code does. False is pysaliency's ``SIM``, which takes
            maps as the densities they are; a map whose minimum is 0 gives the same either way. A constant map counts as uniform
            (the MATLAB code: NaN).
    """
    first, second = _pair(maps, truth)
    if unit_range:
        first, second = _to_unit_range(first), _to_unit_range(second)
    return torch.minimum(as_density(first), as_density(second)).sum(dim=(-2, -1))


def kld(maps: Tensor, truth: Tensor) -> Tensor:
    """Divergence of the predicted density P from the true density Q: ``sum Q ln(eps + Q / (P + eps))``, at least 0, lower is better.

    Equal to pysaliency's ``MIT_KLDiv`` and the MATLAB code's ``KLdiv``, ``eps`` 2.2204e-16. Places where P is 0 and Q is not cost up to
    36 Q each; a blur, or a small constant added to the map, tames them.
    """
    first, second = _pair(maps, truth)
    predicted, true = as_density(first), as_density(second)
    return (true * torch.log(EPSILON + true / (predicted + EPSILON))).sum(dim=(-2, -1))


def information_gain(maps: Tensor, fixations: Fixations, baseline: Tensor | None = None) -> Tensor:
    """Bits per fixation gained over a baseline: mean of ``log2(eps + P) - log2(eps + baseline)`` at the fixations.

    Equal to pysaliency's ``information_gain`` of the densities where they are not 0 (it has no ``eps``, and gives minus infinity there).
    The MATLAB code also scales the maps to [0, 1] first, which makes a pixel of probability 0 out of every map's minimum.

    Args:
        maps: see the module; scaled to sum 1.
        fixations: see ``Fixations``.
        baseline: maps of the same shape, a center prior for instance; None is the uniform density.
    """
    single = as_maps(maps)
    reference = torch.ones_like(single) if baseline is None else _pair(maps, baseline)[1]
    gain = torch.log2(EPSILON + as_density(single)) - torch.log2(EPSILON + as_density(reference))
    return _per_image(gain, fixations, lambda one, places: _values(one, places).mean())
