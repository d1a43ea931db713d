"""Pixel gradients of the learned predictors on real photographs of several aspect ratios."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sgool.harness.seeded_weights import seeded_state
from sgool.image_ops.resize import shrink
from sgool.saliency_models import registry
from sgool.saliency_models.fastsal import FastSal
from sgool.saliency_models.transalnet import TranSalNet
from sgool.saliency_models.u2net import U2Net
from sgool.saliency_models.unisal import Unisal
from torch import Tensor

MAKERS: dict[str, Any] = {
    "transalnet-resnet50": lambda: TranSalNet("resnet50"),
    "transalnet-densenet161": lambda: TranSalNet("densenet161"),
    "unisal": Unisal,
    "fastsal": FastSal,
    "u2net": lambda: U2Net("u2net"),
    "u2netp": lambda: U2Net("u2netp"),
}


def photograph(name: str) -> Tensor:
    data = pytest.importorskip("skimage.data")
    photo = torch.from_numpy(np.array(getattr(data, name)())).float() / 255
    return shrink(photo.expand(1, 3, *photo.shape) if photo.dim() == 2 else photo.permute(2, 0, 1)[None], 160)


@pytest.mark.parametrize("name", MAKERS)
def test_finite_and_not_zero(name: str) -> None:
    with torch.device("meta"):
        shapes = MAKERS[name]().state_dict()
    model = registry.load(name, seeded_state(shapes), input_size=(64, 96))
    for photo in ("astronaut", "rocket", "camera"):
        images = photograph(photo).requires_grad_()
        maps = model(images)
        (gradient,) = torch.autograd.grad(maps.square().sum(), images)
        assert maps.shape[-2:] == images.shape[-2:]
        assert torch.isfinite(gradient).all()
        # Where an image is shrunk without antialiasing, as the references do it, only the pixels that are looked at have a gradient.
        assert (gradient != 0).float().mean() > 0.1
