"""Ways to show an encoder the salient part of an image: each takes images and maps and returns images of the same size, or several."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..image_ops.blur import blur
from ..image_ops.resize import sample_window

SMALLEST_CROP = 0.2  # of the height and the width: a smaller crop shows texture, not things
WINDOWS, WINDOW_COUNT = "windows", 2
AUTOMATIC, BLURRED = "automatic", "blur surroundings"
OVERLOOKS_FROM = 4.5  # times as wide as what a reward reads: from there on it overlooks small things (docs/experiments.md)
BLUR_SIGMA = 0.05  # of the shorter side: removes what a thing is, keeps the light and color around it


def multiply(images: Tensor, maps: Tensor) -> Tensor:
    """``I * S``: the map as a filter on the image, as SGOOL does (arXiv 2410.10257). What is not salient becomes black."""
    return images * maps


def blur_surroundings(images: Tensor, maps: Tensor) -> Tensor:
    """``I * S + blur(I) * (1 - S)``: what is not salient stays as light and color, without detail."""
    sigma = BLUR_SIGMA * min(images.shape[-2:])
    return images * maps + blur(images, sigma) * (1 - maps)


def soft_crop(images: Tensor, maps: Tensor) -> Tensor:
    """Enlarge the window around the map's mass to the whole image; differentiable in the pixels and in the map.

    The window has the image's aspect ratio and lies inside it. Its center is the map's center of mass, its half size sqrt(3) standard
    deviations of the mass along the wider axis (relative to the image): a constant map gives the whole image, a filled box the box.
    """
    return sample_window(images, mass_window(maps), (images.shape[-2], images.shape[-1]))


def mass_window(maps: Tensor) -> Tensor:
    """The window of ``soft_crop``: ``(B, 4)`` top, left, bottom, right in pixels for maps ``(B, 1, H, W)`` >= 0."""
    height, width = maps.shape[-2:]
    mass = maps[:, 0] + 1e-6  # a map of zeros counts as a constant one
    mass = mass / mass.sum(dim=(1, 2), keepdim=True)
    middle_y, spread_y = _moments(mass.sum(2))
    middle_x, spread_x = _moments(mass.sum(1))
    half = (math.sqrt(3) * torch.maximum(spread_y, spread_x)).clamp(SMALLEST_CROP / 2, 0.5)
    middle_y = torch.minimum(torch.maximum(middle_y, half), 1 - half)
    middle_x = torch.minimum(torch.maximum(middle_x, half), 1 - half)
    window = torch.stack([middle_y - half, middle_x - half, middle_y + half, middle_x + half], dim=1)
    return window * window.new_tensor([height, width, height, width])


def _moments(mass: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, in [0, 1] along the line, of ``(B, n)`` pixel masses that sum to one.

    A pixel's mass is spread over the pixel, hence the twelfth: a constant line has the deviation 1 / sqrt(12) for every n.
    """
    count = mass.shape[1]
    places = (torch.arange(count, device=mass.device, dtype=mass.dtype) + 0.5) / count
    mean = (mass * places).sum(1)
    variance = (mass * (places - mean[:, None]) ** 2).sum(1) + 1 / (12 * count * count)
    return mean, variance.sqrt()


def peak_windows(maps: Tensor, size: tuple[int, int], count: int) -> list[Tensor]:
    """``count`` windows ``(B, 4)``, top, left, bottom, right, of height and width ``size`` in maps ``(B, 1, H, W)`` at least as large.

    The first is that of the most mass, the next the same of what is left outside of it. They have no gradient.
    """
    left, found = maps.detach().clone(), []
    rows, columns = (torch.arange(length, device=maps.device) for length in maps.shape[-2:])
    for _ in range(count):
        mass = nn.functional.avg_pool2d(left, size, stride=1)
        best = mass.flatten(1).argmax(1)
        top, start = best // mass.shape[-1], best % mass.shape[-1]
        found.append(torch.stack([top, start, top + size[0], start + size[1]], dim=1).to(maps))
        inside = _between(rows, top, size[0])[:, :, None] & _between(columns, start, size[1])[:, None, :]
        left = left.masked_fill(inside[:, None], 0)
    return found


def _between(places: Tensor, start: Tensor, length: int) -> Tensor:
    return (places >= start[:, None]) & (places < start[:, None] + length)


def full_resolution(images: Tensor, maps: Tensor, reads: int, count: int = WINDOW_COUNT) -> list[Tensor]:
    """What a reward that reads ``reads`` pixels of the shorter side sees at full resolution: windows of the image's aspect ratio where the
    map has most mass, each enlarged to the image's size. An image that is no larger than that is one window."""
    height, width = images.shape[-2:]
    part = min(1.0, reads / min(height, width))
    size = max(1, round(part * height)), max(1, round(part * width))
    places = peak_windows(maps, size, count if part < 1 else 1)
    return [sample_window(images, place, (height, width)) for place in places]


def overlooked(images: Tensor, reads: int) -> bool:
    """Whether small things of ``images`` are lost on a reward that reads ``reads`` pixels of the shorter side."""
    return min(images.shape[-2:]) >= OVERLOOKS_FROM * reads


REGIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "multiply": multiply,
    BLURRED: blur_surroundings,
    "soft crop": soft_crop,
}
