"""OpenCV's filters as matrices: against torch's bicubic interpolation, which is OpenCV's, and against plain sums."""

from __future__ import annotations

import pytest
import torch
from sgool.image_ops.axis_filters import apply_matrices, opencv_cubic_matrix, opencv_smooth
from torch.nn.functional import interpolate, pad


@pytest.mark.parametrize("to", [(40, 55), (7, 90), (12, 5), (1, 1)])
def test_opencv_cubic_is_torchs_bicubic(to: tuple[int, int]) -> None:
    images = torch.rand(2, 3, 12, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = interpolate(images, to, mode="bicubic", align_corners=False)
    torch.testing.assert_close(apply_matrices(images, to, opencv_cubic_matrix), theirs, atol=1e-12, rtol=0)


def test_opencv_smooth_mirrors_at_the_border() -> None:
    images = torch.rand(1, 1, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 16
    theirs = torch.nn.functional.conv2d(pad(images, (2, 2, 2, 2), mode="reflect"), (taps[:, None] * taps)[None, None])
    torch.testing.assert_close(opencv_smooth(images), theirs)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 3)])
def test_opencv_smooth_of_tiny_images_keeps_what_is_constant(size: tuple[int, int]) -> None:
    torch.testing.assert_close(opencv_smooth(torch.full((1, 1, *size), 0.3)), torch.full((1, 1, *size), 0.3))
