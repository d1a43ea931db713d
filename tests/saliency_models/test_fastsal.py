"""FastSal: equal to the published network, fed and read as its authors do it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sgool.harness.derivatives import along_a_direction
from sgool.harness.seeded_weights import seeded_images, seeded_state, uniform
from sgool.saliency_models import registry
from sgool.saliency_models.fastsal import FastSal
from sgool.schema.weights import WeightsError
from torch import Tensor

RECORDED = json.loads((Path(__file__).parent / "recorded" / "fastsal.json").read_text())


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = FastSal().state_dict()
    return seeded_state(shapes, RECORDED["gains"])


def test_published_size(state: dict[str, Tensor]) -> None:
    assert len(state) == 394
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in FastSal().parameters()) == 3_646_715


def test_equals_the_published_network(state: dict[str, Tensor]) -> None:
    """Recorded from the authors' implementation with the same seeded weights and images."""
    model = registry.load("fastsal", state)
    assert isinstance(model, FastSal)
    mean, std = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    with torch.no_grad():
        maps = torch.sigmoid(model.network((seeded_images(*RECORDED["input"]) - mean) / std))
    stride = RECORDED["stride"]
    recorded = torch.tensor(RECORDED["map"])
    assert recorded.std() > 0.1
    torch.testing.assert_close(maps[0, 0, stride // 2 :: stride, stride // 2 :: stride], recorded, rtol=0, atol=1e-5)


def test_the_whole_route_is_within_one_gray_level(state: dict[str, Tensor]) -> None:
    """From the pixels of an image file to the bytes of the map, recorded from the authors' steps with Pillow 13.0 and OpenCV 5.0."""
    height, width = RECORDED["image"]
    pixels = 0.8 * seeded_images(1, height, width) + 0.2 * uniform("noise of bytes", (1, 3, height, width))
    with torch.no_grad():
        maps = registry.load("fastsal", state)((pixels * 255).floor() / 255)
    stride = RECORDED["route_stride"]
    recorded = torch.tensor(RECORDED["route"]).float()
    assert recorded.std() > 5
    assert ((maps[0, 0, stride // 2 :: stride, stride // 2 :: stride] * 255).floor() - recorded).abs().max() <= 1


def test_recognized_also_under_older_names(state: dict[str, Tensor], tmp_path: Path) -> None:
    """The authors save the weights beside their optimizer, as "student_model"; layers of the adaptation were once called conv0."""
    old = {key.replace("adaptation_layer.layers.2.0.", "adaptation_layer.layers.2.conv0."): value for key, value in state.items()}
    torch.save({"student_model": old, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, tmp_path / "salicon_A.pth")
    entry = registry.recognize(old)
    assert entry is not None
    assert entry.name == "fastsal"
    images = seeded_images(1, 40, 50)
    with torch.no_grad():
        torch.testing.assert_close(registry.load("fastsal", tmp_path / "salicon_A.pth")(images), registry.load("fastsal", state)(images))
    with pytest.raises(WeightsError, match=r"1 of its 394 weights are missing \(first 'comb.layers.0.0.bias'\)"):
        registry.load("fastsal", {key: value for key, value in state.items() if key != "comb.layers.0.0.bias"})


def test_batches_and_sizes(state: dict[str, Tensor]) -> None:
    model = registry.load("fastsal", state, input_size=(64, 96))
    images = seeded_images(2, 50, 81)
    with torch.no_grad():
        maps = model(images)
        singles = torch.cat([model(image[None]) for image in images])
        tiny = model(images[..., :1, :1])
    assert maps.shape == (2, 1, 50, 81)
    assert 0 <= maps.min() <= maps.max() <= 1
    torch.testing.assert_close(maps, singles, rtol=0, atol=1e-5)
    assert tiny.shape == (2, 1, 1, 1)
    assert torch.isfinite(tiny).all()
    with pytest.raises(ValueError, match="positive multiples of 32"):
        registry.load("fastsal", state, input_size=(100, 100))


def test_gradient_in_the_pixels(state: dict[str, Tensor]) -> None:
    """Central differences along a random direction, in float64."""
    double = {key: value.double() if value.is_floating_point() else value for key, value in state.items()}
    model = registry.load("fastsal", double, input_size=(64, 96), eight_bit=False)
    images = 0.2 + 0.6 * seeded_images(1, 30, 40).double()
    gradient, along, change = along_a_direction(model, images, step=1e-9)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).double().mean() > 0.9
    torch.testing.assert_close(along, change, rtol=1e-5, atol=0)
