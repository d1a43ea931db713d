"""The maps that image files get, against those that the authors' programs write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sgool.harness.seeded_weights import seeded_images, seeded_state, uniform
from sgool.saliency_models import registry
from sgool.saliency_models.transalnet import TranSalNet
from sgool.saliency_models.unisal import Unisal
from torch import Tensor

RECORDED_FILES = Path(__file__).parent / "recorded"
RECORDED = json.loads((RECORDED_FILES / "file_route.json").read_text())


def photograph(height: int, width: int) -> Tensor:
    """Blobs with noise, in bytes, as (1, 3, H, W) floats."""
    pixels = 0.8 * seeded_images(1, height, width) + 0.2 * uniform("noise of bytes", (1, 3, height, width))
    return (pixels * 255).floor() / 255


@pytest.mark.parametrize("name", ["transalnet-resnet50", "unisal"])
def test_the_whole_route_is_within_one_gray_level(name: str) -> None:
    """From the pixels of an image file to the bytes of the map, recorded from the authors' programs with seeded weights."""
    gains = json.loads((RECORDED_FILES / f"{name.partition('-')[0]}.json").read_text())
    gains = gains.get("resnet50", gains)["gains"]
    with torch.device("meta"):
        shapes = (Unisal() if name == "unisal" else TranSalNet("resnet50")).state_dict()
    options: dict[str, Any] = {} if name == "unisal" else {"channel_order": "bgr"}
    model = registry.load(name, seeded_state(shapes, gains), **options)
    with torch.no_grad():
        maps = model(photograph(*RECORDED["image"]))
    recorded = torch.tensor(RECORDED[name]).float()
    stride = RECORDED["stride"]
    assert recorded.std() > 10
    assert ((maps[0, 0, stride // 2 :: stride, stride // 2 :: stride] * 255).floor() - recorded).abs().max() <= 1
