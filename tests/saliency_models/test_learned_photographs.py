"""Pixel gradients of the learned predictors on real photographs of several aspect ratios."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sgool.image_ops.resize import shrink
from torch import Tensor

from .networks import NETWORKS, seeded


def photograph(name: str) -> Tensor:
    data = pytest.importorskip("skimage.data")
    photo = torch.from_numpy(np.array(getattr(data, name)())).float() / 255
    return shrink(photo.expand(1, 3, *photo.shape) if photo.dim() == 2 else photo.permute(2, 0, 1)[None], 160)


@pytest.mark.parametrize("name", NETWORKS)
def test_finite_and_not_zero(name: str) -> None:
    model = seeded(name, input_size=(64, 96))
    for photo in ("astronaut", "rocket", "camera"):
        images = photograph(photo).requires_grad_()
        maps = model(images)
        (gradient,) = torch.autograd.grad(maps.square().sum(), images)
        assert maps.shape[-2:] == images.shape[-2:]
        assert torch.isfinite(gradient).all()
        # Where an image is shrunk without antialiasing, as the references do it, only the pixels that are looked at have a gradient.
        assert (gradient != 0).float().mean() > 0.1
