"""TranSalNet: equal to the published network, fed and read as its authors do it, strict about its weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.harness.derivatives import along_a_direction
from sgool.harness.seeded_weights import seeded_images, seeded_state
from sgool.saliency_models import registry
from sgool.saliency_models.transalnet import TranSalNet, cover_and_crop, fit_on_canvas
from sgool.schema.weights import WeightsError
from torch import Tensor, nn

RECORDED = json.loads((Path(__file__).parent / "recorded" / "transalnet.json").read_text())
VARIANTS = ("resnet50", "densenet161")


def expected_state(variant: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return TranSalNet(variant).state_dict()  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def state(variant: str) -> dict[str, Tensor]:
    return seeded_state(expected_state(variant), RECORDED[variant]["gains"])


@pytest.fixture(scope="module")
def model(variant: str, state: dict[str, Tensor]) -> TranSalNet:
    loaded = registry.load(f"transalnet-{variant}", state)
    assert isinstance(loaded, TranSalNet)
    return loaded


@pytest.fixture(scope="module")
def small() -> TranSalNet:
    """The smaller variant at a small input, for what does not depend on either."""
    state = seeded_state(expected_state("resnet50"), RECORDED["resnet50"]["gains"])
    loaded = registry.load("transalnet-resnet50", state, input_size=(64, 96))
    assert isinstance(loaded, TranSalNet)
    return loaded


def test_published_size(variant: str) -> None:
    state = expected_state(variant)
    counters = {"num_batches_tracked", "running_mean", "running_var"}
    parameters = sum(value.numel() for key, value in state.items() if key.rpartition(".")[2] not in counters)
    assert (len(state), parameters) == {"resnet50": (473, 72_510_977), "densenet161": (1115, 76_560_065)}[variant]


def test_equals_the_published_network(variant: str, model: TranSalNet) -> None:
    """Recorded from the authors' implementation with the same seeded weights and images."""
    case = RECORDED[variant]
    with torch.no_grad():
        maps = model.network(seeded_images(*case["input"]))
    assert maps.shape == (1, 1, 288, 384)
    stride = case["stride"]
    found = maps[0, 0, stride // 2 :: stride, stride // 2 :: stride]
    recorded = torch.tensor(case["map"])
    assert recorded.std() > 0.1
    torch.testing.assert_close(found, recorded, rtol=0, atol=1e-5)


def test_recognized_by_its_keys(variant: str) -> None:
    entry = registry.recognize(expected_state(variant))
    assert entry is not None
    assert entry.name == f"transalnet-{variant}"


def test_the_other_variant_is_named(variant: str) -> None:
    other = next(name for name in VARIANTS if name != variant)
    with pytest.raises(WeightsError, match=f"those of 'transalnet-{other}': choose that predictor"):
        registry.load(f"transalnet-{variant}", expected_state(other))


def test_every_key_must_be_there_and_used() -> None:
    state = expected_state("resnet50")
    del state["decoder.conv7.bias"]
    with pytest.raises(WeightsError, match=r"1 of its 473 weights are missing \(first 'decoder.conv7.bias'\)"):
        registry.load("transalnet-resnet50", state)
    state = {**expected_state("resnet50"), "extra.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"1 are unknown to it \(first 'extra.weight'\)"):
        registry.load("transalnet-resnet50", state)
    state = {**expected_state("resnet50"), "decoder.conv7.weight": torch.zeros(2, 32, 3, 3)}
    with pytest.raises(WeightsError, match=r"another shape .*\(2, 32, 3, 3\) instead of \(1, 32, 3, 3\)"):
        registry.load("transalnet-resnet50", state)


def test_batches_any_size_and_channel_orders(small: TranSalNet) -> None:
    images = seeded_images(2, 50, 81)
    with torch.no_grad():
        maps = small(images)
        singles = torch.cat([small(image[None]) for image in images])
        small.channel_order = "bgr"
        try:
            swapped = small(images.flip(1))
        finally:
            small.channel_order = "rgb"
    assert maps.shape == (2, 1, 50, 81)
    assert maps.min() >= 0
    assert maps.max() <= 1
    torch.testing.assert_close(maps, singles, rtol=0, atol=1e-5)
    torch.testing.assert_close(maps, swapped, rtol=0, atol=0)


def test_other_input_sizes_interpolate_the_positions(small: TranSalNet) -> None:
    encoder = small.decoder.TransEncoder1
    like = torch.zeros(1)
    native = encoder._positions((9, 12), like)
    assert native is encoder.position_embeddings or torch.equal(native, encoder.position_embeddings)
    doubled = encoder._positions((18, 24), like)
    assert doubled.shape == (1, 18 * 24, 768)
    # Averaged back over 2 x 2, the finer grid says what the native one says.
    back = F.avg_pool2d(doubled.transpose(1, 2).unflatten(2, (18, 24)), 2).flatten(2).transpose(1, 2)
    assert torch.corrcoef(torch.stack([back.flatten(), native.flatten()]))[0, 1] > 0.9


@pytest.mark.parametrize("size", [(0, 32), (33, 64), (64,), (64, -32)])
def test_refuses_other_input_sizes(size: Any) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="positive multiples of 32"):
        TranSalNet(input_size=size)


def test_refuses_unknown_options() -> None:
    with pytest.raises(ValueError, match="'resnet50' and 'densenet161'; got 'vgg'"):
        TranSalNet("vgg")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'rgb' or 'bgr'; got 'xyz'"):
        TranSalNet(channel_order="xyz")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights(small: TranSalNet, dtype: torch.dtype) -> None:
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in small.state_dict().items()}
    half = registry.load("transalnet-resnet50", state, input_size=(64, 96))
    images = seeded_images(1, 64, 96)
    with torch.no_grad():
        maps, exact = half(images), small(images)
    assert maps.dtype == torch.float32
    assert (maps - exact).abs().mean() < 0.05


def test_layers_of_the_host_keep_their_own_precision(small: TranSalNet) -> None:
    """With layers that cast their weights when called, half-precision weights are computed with in float32."""

    class Linear(nn.Linear):
        comfy_cast_weights = True

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight.to(x), None if self.bias is None else self.bias.to(x))

    class Conv2d(nn.Conv2d):
        comfy_cast_weights = True

        def forward(self, x: Tensor) -> Tensor:
            return self._conv_forward(x, self.weight.to(x), None if self.bias is None else self.bias.to(x))

    class LayerNorm(nn.LayerNorm):
        comfy_cast_weights = True

        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, self.normalized_shape, self.weight.to(x), self.bias.to(x), self.eps)

    class BatchNorm2d(nn.BatchNorm2d):
        comfy_cast_weights = True

        def forward(self, x: Tensor) -> Tensor:
            assert self.running_mean is not None
            assert self.running_var is not None
            statistics = self.running_mean.to(x), self.running_var.to(x)
            return F.batch_norm(x, *statistics, self.weight.to(x), self.bias.to(x), False, 0.0, self.eps)

    operations = SimpleNamespace(Linear=Linear, Conv2d=Conv2d, LayerNorm=LayerNorm, BatchNorm2d=BatchNorm2d)
    half = {key: value.half() if value.is_floating_point() else value for key, value in small.state_dict().items()}
    images = seeded_images(1, 64, 96)
    with torch.no_grad():
        cast = registry.load("transalnet-resnet50", half, input_size=(64, 96), operations=operations)(images)
        widened = {key: value.float() if value.is_floating_point() else value for key, value in half.items()}
        exact = registry.load("transalnet-resnet50", widened, input_size=(64, 96))(images)
    torch.testing.assert_close(cast, exact, rtol=0, atol=0)


def test_gradient_in_the_pixels(small: TranSalNet) -> None:
    """Central differences along a random direction, in float64."""
    model = TranSalNet("resnet50", input_size=(32, 64), eight_bit=False).double().eval()
    model.load_state_dict(small.state_dict())
    images = seeded_images(1, 40, 40).double()
    gradient, along, change = along_a_direction(model, images, step=1e-6)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).double().mean() > 0.9
    torch.testing.assert_close(along, change, rtol=1e-5, atol=0)


def test_the_canvas() -> None:
    """Sides rounded down, centered, on the reference's background of 1/255."""
    canvas = fit_on_canvas(torch.full((1, 3, 100, 301), 0.5))
    assert canvas.shape == (1, 3, 288, 384)
    rows = (canvas[0, 0, :, 0] - 0.5).abs() < 1e-6
    assert int(rows.sum()) == 100 * 384 // 301
    assert int(rows.nonzero()[0]) == (288 - 127) // 2
    torch.testing.assert_close(canvas[0, 0, ~rows], torch.full((161, 384), 1 / 255))


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 700), width=st.integers(1, 700))
def test_there_and_back(height: int, width: int) -> None:
    """Any size comes back, and an image that fits without padding keeps its content."""
    image = F.interpolate(torch.tensor([[[[0.2, 0.8], [0.4, 0.6]]]]), size=(height, width), mode="bilinear", align_corners=True)
    back = cover_and_crop(fit_on_canvas(image), (height, width))
    assert back.shape == image.shape
    assert back.min() >= 0
    assert back.max() <= 1
    if min(height, width) >= 32 and max(height, width) / min(height, width) < 3:
        inner = (slice(None), slice(None), slice(height // 8, -(height // 8)), slice(width // 8, -(width // 8)))
        assert (back - image)[inner].abs().max() < 0.05


PHOTOGRAPHS = ("astronaut", "rocket", "coffee", "chelsea", "camera", "retina")


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("turned", [False, True])
def test_within_one_gray_level_of_opencv(name: str, turned: bool) -> None:
    """The reference's route through bytes: OpenCV to the canvas, and back from the network's map in bytes."""
    cv2 = pytest.importorskip("cv2")
    data = pytest.importorskip("skimage.data")
    photo = np.asarray(getattr(data, name)())
    photo = np.repeat(photo[:, :, None], 3, axis=2) if photo.ndim == 2 else photo
    photo = np.ascontiguousarray(np.rot90(photo) if turned else photo)
    height, width = photo.shape[:2]
    tall = height / 288 > width / 384
    small = (288, width * 288 // height) if tall else (height * 384 // width, 384)
    top, left = (288 - small[0]) // 2, (384 - small[1]) // 2
    canvas = np.ones((288, 384, 3), dtype=np.uint8)
    canvas[top : top + small[0], left : left + small[1]] = cv2.resize(photo, small[::-1])
    for eight_bit, largest in ((True, 1e-3), (False, 1)):
        ours = fit_on_canvas(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255, eight_bit=eight_bit)
        assert np.abs(ours[0].permute(1, 2, 0).numpy() * 255 - canvas).max() <= largest

    maps = seeded_images(1, 288, 384)[:, :1]
    covered = (height, 384 * height // 288) if tall else (288 * width // 384, width)
    enlarged = cv2.resize((maps[0, 0].numpy() * 255).astype(np.uint8), covered[::-1])
    top, left = (covered[0] - height) // 2, (covered[1] - width) // 2
    back = np.floor(cover_and_crop(maps, (height, width))[0, 0].numpy() * 255)
    assert np.abs(back - enlarged[top : top + height, left : left + width]).max() <= 1
