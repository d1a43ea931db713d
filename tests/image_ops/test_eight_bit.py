"""Resizing bytes as OpenCV and Pillow do it, to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from sgool.harness.seeded_weights import seeded_images, uniform
from sgool.image_ops.axis_filters import apply_matrices, bilinear_matrix, lanczos_matrix
from sgool.image_ops.eight_bit import opencv_linear, pillow_lanczos
from torch import Tensor

RECORDED = json.loads((Path(__file__).parent / "resized.json").read_text())
LEVEL = 1 / 255


def photograph(height: int, width: int) -> Tensor:
    """Blobs with noise, in bytes, as (1, 3, H, W) floats."""
    pixels = 0.8 * seeded_images(1, height, width) + 0.2 * uniform("noise of bytes", (1, 3, height, width))
    return (pixels * 255).floor() / 255


@pytest.mark.parametrize(("library", "resize"), [("opencv", opencv_linear), ("pillow", pillow_lanczos)])
def test_recorded_bytes(library: str, resize: Callable[[Tensor, tuple[int, int]], Tensor]) -> None:
    """Recorded from OpenCV 5.0 and Pillow 13.0."""
    ours = resize(photograph(*RECORDED["image"]), tuple(RECORDED["to"]))[0, RECORDED["channel"]] * 255
    torch.testing.assert_close(ours, torch.tensor(RECORDED[library]).float(), atol=1e-3, rtol=0)


sizes = st.integers(1, 90) | st.integers(90, 700)


@settings(max_examples=30, deadline=None)
@given(size=st.tuples(sizes, sizes), to=st.tuples(sizes, sizes), seed=st.integers(0, 1 << 16))
def test_opencv_any_size_to_the_bit(size: tuple[int, int], to: tuple[int, int], seed: int) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    theirs = cv2.resize(pixels, to[::-1])
    ours = opencv_linear(images, to)[0].permute(1, 2, 0) * 255
    torch.testing.assert_close(ours, torch.from_numpy(theirs.copy()).float(), atol=1e-3, rtol=0)


@settings(max_examples=60, deadline=None)
@given(size=st.tuples(sizes, sizes), to=st.tuples(sizes, sizes), seed=st.integers(0, 1 << 16))
@example(size=(600, 120), to=(416, 256), seed=0)
@example(size=(640, 427), to=(384, 288), seed=0)
@example(size=(640, 427), to=(384, 384), seed=0)
def test_pillow_any_size_to_the_bit(size: tuple[int, int], to: tuple[int, int], seed: int) -> None:
    """The axes' order is Pillow 13's; what an older one does in that order is the same."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if int(PIL.__version__.split(".")[0]) < 13:
        lower = size[0] > to[0] and size[0] - to[0] > 2 * (size[1] - to[1])
        image = image.resize((size[1], to[0]) if lower else (to[1], size[0]), Image.Resampling.LANCZOS)
    theirs = np.asarray(image.resize(to[::-1], Image.Resampling.LANCZOS))
    ours = pillow_lanczos(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255, to)[0].permute(1, 2, 0) * 255
    torch.testing.assert_close(ours, torch.from_numpy(theirs.copy()).float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("resize", "matrix"), [(opencv_linear, bilinear_matrix), (pillow_lanczos, lanczos_matrix)])
def test_gradient_passes_straight_through(resize: Any, matrix: Any) -> None:
    images = (0.3 + 0.4 * torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))).requires_grad_()
    smooth = apply_matrices(images, (24, 60), matrix)
    rounded = resize(images, (24, 60))
    with torch.no_grad():
        torch.testing.assert_close(rounded, resize(images.detach(), (24, 60)), atol=1e-6, rtol=0)
        assert 0 < (rounded - smooth).abs().max() <= 1.5 * LEVEL
    weights = uniform("weights", (2, 3, 24, 60))
    first, second = (torch.autograd.grad((values * weights).sum(), images)[0] for values in (smooth, rounded))
    torch.testing.assert_close(first, second)
