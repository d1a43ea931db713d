"""The saliency of Itti and Koch, with its hard steps made smooth.

Itti, Koch, Niebur, "A Model of Saliency-Based Visual Attention for Rapid Scene Analysis", PAMI 1998: colors, intensity and
orientations are compared between fine and coarse levels of a pyramid, and a map with one high peak counts more than one with many.

Levels and filters are those of J. Harel's implementation in his GBVS toolbox, which the benchmarks list: centers 2 and 3, surrounds two
levels above. The paper's surrounds, three and four levels above centers 2 to 4, are 2 to 20 pixels wide, little more than the mean of the
image, and the orientations of so few pixels are noise (docs/saliency.md has what that costs).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..image_ops.blur import blur
from ..image_ops.resize import fit_size, resize, shrink
from .entries import Entry
from .filters import gabor_energy
from .interface import SaliencyModel
from .maps import divide_by_maximum

_LEVELS = 4  # its levels 2 to 5
_CENTERS, _SURROUND = (0, 1), 2  # c = 2, 3 and s = c + 2: see the module
# Below half a gray level a difference is faint, and a map is whose maximum is well below the ceiling: rounding must not be enlarged.
_FAINT, _CEILING = 2e-3, 0.05
_SUM_SIDE = 40  # pixels of its level 4, on which maps are added


def _magnitude(difference: Tensor) -> Tensor:
    """|difference| that is smooth at 0 (within half a gray level)."""
    return torch.sqrt(difference**2 + _FAINT**2) - _FAINT


def opponents(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the intensity (B, 1, H, W) and the color pair (B, 2, H, W) red-green and blue-yellow.

    The broadly tuned colors are those of the paper; they are divided by the intensity, which a tenth of the range keeps off zero
    where the paper cuts colors off below a tenth of the brightest intensity.
    """
    red, green, blue = images.split(1, dim=1)
    intensity = (red + green + blue) / 3
    r, g, b = ((channel / (intensity.clamp(min=0) + 0.1)) for channel in (red, green, blue))
    pure_red, pure_green, pure_blue = ((own - (one + other) / 2).relu() for own, one, other in ((r, g, b), (g, r, b), (b, r, g)))
    yellow = ((r + g) / 2 - _magnitude(r - g) / 2 - b).relu()
    return intensity, torch.cat([pure_red - pure_green, pure_blue - yellow], dim=1)


def promote_single_peaks(maps: Tensor, ceiling: float) -> Tensor:
    """The paper's N(.): scale each map to its maximum, then multiply by (1 - mean of its other local maxima)^2.

    A local maximum is that of a block of the map, which changes continuously with the map where "larger than its neighbors" jumps.

    Args:
        maps: (B, C, h, w), at least 0.
        ceiling: a map whose maximum is well below this is faint, and stays so instead of being scaled up.
    """
    scaled = maps / (maps.amax(dim=(-2, -1), keepdim=True) + ceiling)
    side = max(1, math.ceil(max(maps.shape[-2:]) / 5))
    peaks = torch.stack([block.amax(dim=(-2, -1)) for rows in scaled.split(side, -2) for block in rows.split(side, -1)])
    others = (peaks.sum(0) - peaks.amax(0)) / max(1, len(peaks) - 1)
    return scaled * (1 - others[..., None, None]) ** 2


class IttiKoch(SaliencyModel):
    """Center-surround differences of intensity, color and orientation over a pyramid.

    Args:
        blur_fraction: sigma of the final blur, as a part of the mean side.
    """

    name = "itti-koch"
    kind = "bottom-up"
    side = 256  # pixels of level 2 of an image of 1024

    def __init__(self, blur_fraction: float = 0.03) -> None:
        super().__init__()
        if blur_fraction < 0:
            raise ValueError(f"Itti-Koch saliency needs blur_fraction >= 0; got {blur_fraction}.")
        self.blur_fraction = blur_fraction

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, h, w) maps on the grid on which they are added; the maximum of each is 1."""
        small = shrink(images, self.side)
        grid = fit_size((small.shape[-2], small.shape[-1]), _SUM_SIDE)
        intensity, color = opponents(small)
        pyramid = _pyramid(torch.cat([intensity, color], dim=1))
        oriented = [gabor_energy(level[:, :1]) for level in pyramid]
        total = torch.zeros((), dtype=small.dtype, device=small.device)
        for levels, channels in ((pyramid, slice(0, 1)), (pyramid, slice(1, 3)), (oriented, slice(0, 4))):
            differences = _center_surround([level[:, channels] for level in levels], grid)
            conspicuity = promote_single_peaks(differences, _CEILING).mean(dim=1, keepdim=True)
            total = total + promote_single_peaks(conspicuity, _CEILING)
        total = total - total.amin(dim=(-2, -1), keepdim=True) + 0.02  # contrast that is everywhere says nothing
        return divide_by_maximum(blur(total, self.blur_fraction * sum(grid) / 2))


def _pyramid(images: Tensor) -> list[Tensor]:
    levels = [images]
    while len(levels) < _LEVELS:
        height, width = levels[-1].shape[-2:]
        levels.append(resize(blur(levels[-1], 1.0), ((height + 1) // 2, (width + 1) // 2)))
    return levels


def _center_surround(levels: list[Tensor], grid: tuple[int, int]) -> Tensor:
    """(B, 2 C, *grid): the difference of each center level and its surround."""
    found = []
    for center in _CENTERS:
        fine = levels[center]
        coarse = resize(levels[center + _SURROUND], (fine.shape[-2], fine.shape[-1]))
        found.append(resize(_magnitude(fine - coarse), grid))
    return torch.cat(found, dim=1)


ENTRIES = [
    Entry(
        name="itti-koch",
        kind="bottom-up",
        license="Apache-2.0",
        build=IttiKoch,
    )
]
