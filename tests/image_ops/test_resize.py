"""Resizing against torch's antialiased interpolation, windows and blurring against what they must leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sgool.image_ops.blur import blur
from sgool.image_ops.resize import fit_size, resize, resize_by_products, sample_window, shrink
from torch import Tensor
from torch.nn.functional import interpolate

LENGTHS = st.integers(2, 40)  # interpolate itself mixes up images that are one pixel wide


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@settings(max_examples=30, deadline=None)
@given(size=st.tuples(LENGTHS, LENGTHS), to=st.tuples(LENGTHS, LENGTHS), kernel=st.sampled_from(["bilinear", "bicubic"]))
def test_both_routes_are_antialiased_interpolation(size: tuple[int, int], to: tuple[int, int], kernel: Any) -> None:
    """Values and gradients: the products are what devices other than a CPU get."""
    before, weights = images(2, 3, *size).requires_grad_(), images(2, 3, *to)
    theirs = interpolate(before, to, mode=kernel, antialias=True)
    (their_gradient,) = torch.autograd.grad((theirs * weights).sum(), before)
    for function in (resize, resize_by_products):
        ours = function(before, to, kernel)
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
        (gradient,) = torch.autograd.grad((ours * weights).sum(), before)
        torch.testing.assert_close(gradient, their_gradient, atol=1e-10, rtol=0)


@pytest.mark.parametrize("to", [(10, 1), (1, 10), (1, 1), (3, 4), (50, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_torchs_own_mixes_up_or_refuses(to: tuple[int, int], dtype: torch.dtype) -> None:
    """Results of one pixel and half precision, against Pillow's resizing of floats."""
    batch = images(2, 3, 40, 5).to(dtype)
    small = resize(batch, to)
    assert small.dtype == dtype
    for single, ours in zip(batch.float().flatten(0, 1), small.flatten(0, 1), strict=True):
        theirs = np.asarray(Image.fromarray(single.numpy()).resize(to[::-1], Image.Resampling.BILINEAR))
        torch.testing.assert_close(ours.float(), torch.from_numpy(theirs.copy()), atol=1e-6 if dtype == torch.float32 else 1e-2, rtol=0)


@pytest.mark.parametrize(
    ("size", "longest", "expected"), [((480, 640), 320, (240, 320)), ((1, 1000), 10, (1, 10)), ((30, 20), 60, (60, 40))]
)
def test_the_longer_side_decides(size: tuple[int, int], longest: int, expected: tuple[int, int]) -> None:
    assert fit_size(size, longest) == expected
    shrunk = shrink(images(1, 1, *size), longest)
    assert tuple(shrunk.shape[-2:]) == (expected if max(size) > longest else size)


def test_window_of_the_whole_image_is_the_image() -> None:
    whole = images(2, 3, 7, 9)
    torch.testing.assert_close(sample_window(whole, torch.tensor([0.0, 0.0, 7.0, 9.0]), (7, 9)), whole)
    part = sample_window(whole, torch.tensor([[1.0, 2.0, 4.0, 5.0], [3.0, 0.0, 6.0, 3.0]]), (3, 3))
    torch.testing.assert_close(part, torch.stack([whole[0, :, 1:4, 2:5], whole[1, :, 3:6, 0:3]]))


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_a_window_of_whole_pixels_is_the_crop_resized(kernel: Any) -> None:
    whole = images(1, 3, 20, 30)
    window = sample_window(whole, torch.tensor([3.0, 4.0, 15.0, 28.0]), (12, 24), kernel)
    torch.testing.assert_close(window, whole[..., 3:15, 4:28])


def test_a_window_has_a_gradient() -> None:
    window = torch.tensor([1.3, 2.2, 7.1, 8.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda at: sample_window(images(1, 1, 9, 10), at, (4, 5), "bicubic"), (window,))


def test_blur_keeps_what_is_constant_and_smooths_the_rest() -> None:
    torch.testing.assert_close(blur(torch.full((1, 3, 5, 6), 0.3), 2.0), torch.full((1, 3, 5, 6), 0.3))
    noise = images(1, 3, 30, 30)
    assert blur(noise, 2.0).std() < 0.3 * noise.std()
    assert blur(noise, 0) is noise


def test_blur_is_the_gaussian_of_scipy_away_from_the_border() -> None:
    scipy = pytest.importorskip("scipy.ndimage")
    noise = images(1, 1, 60, 50)
    theirs = torch.from_numpy(scipy.gaussian_filter(noise[0, 0].numpy(), 1.7, truncate=12))
    torch.testing.assert_close(blur(noise, 1.7)[0, 0, 20:-20, 20:-20], theirs[20:-20, 20:-20], atol=1e-10, rtol=0)


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
def test_blur_refuses_what_is_no_width(sigma: float) -> None:
    with pytest.raises(ValueError, match="finite number of pixels"):
        blur(images(1, 1, 3, 3), sigma)
