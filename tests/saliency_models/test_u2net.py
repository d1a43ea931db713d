"""U2-Net and U2-NetP: equal to the published networks, fed and read as their authors do it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sgool.harness.derivatives import along_a_direction
from sgool.harness.seeded_weights import seeded_images, seeded_state, uniform
from sgool.image_ops.axis_filters import scikit_resize
from sgool.saliency_models import registry
from sgool.saliency_models.interface import SaliencyModel
from sgool.saliency_models.u2net import U2Net
from sgool.schema.weights import WeightsError
from torch import Tensor

RECORDED = json.loads((Path(__file__).parent / "recorded" / "u2net.json").read_text())
VARIANTS = ("u2net", "u2netp")


def expected_state(variant: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return U2Net(variant).state_dict()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small_state() -> dict[str, Tensor]:
    return seeded_state(expected_state("u2netp"), RECORDED["gains"])


@pytest.fixture(scope="module")
def small(small_state: dict[str, Tensor]) -> SaliencyModel:
    return registry.load("u2netp", small_state, input_size=(64, 80))


@pytest.mark.parametrize(("variant", "size"), [("u2net", 44_009_869), ("u2netp", 1_131_181)])
def test_published_size(variant: str, size: int) -> None:
    state = expected_state(variant)
    counters = {"num_batches_tracked", "running_mean", "running_var"}
    assert len(state) == 798
    assert sum(value.numel() for key, value in state.items() if key.rpartition(".")[2] not in counters) == size


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_published_network(variant: str) -> None:
    """Recorded from the authors' implementation with the same seeded weights and images."""
    model = registry.load(variant, seeded_state(expected_state(variant), RECORDED["gains"]))
    assert isinstance(model, U2Net)
    mean, std = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    with torch.no_grad():
        maps = torch.sigmoid(model.network((seeded_images(*RECORDED["input"]) - mean) / std))
    stride = RECORDED["stride"]
    recorded = torch.tensor(RECORDED["maps"][variant])
    assert recorded.std() > 0.1
    torch.testing.assert_close(maps[0, 0, stride // 2 :: stride, stride // 2 :: stride], recorded, rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_recognized_and_the_other_variant_named(variant: str) -> None:
    entry = registry.recognize(expected_state(variant))
    assert entry is not None
    assert entry.name == variant
    other = next(name for name in VARIANTS if name != variant)
    with pytest.raises(WeightsError, match=f"those of {other!r}: choose that predictor"):
        registry.load(variant, expected_state(other))


def test_batches_and_sizes(small: SaliencyModel) -> None:
    images = seeded_images(2, 50, 81)
    with torch.no_grad():
        maps = small(images)
        singles = torch.cat([small(image[None]) for image in images])
    assert maps.shape == (2, 1, 50, 81)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert maps.max() > 0.9
    torch.testing.assert_close(maps, singles, rtol=0, atol=1e-5)


def test_black_images_get_a_finite_map(small: SaliencyModel) -> None:
    with torch.no_grad():
        assert torch.isfinite(small(torch.zeros(1, 3, 20, 20))).all()


def test_refuses_unknown_options() -> None:
    with torch.device("meta"):
        with pytest.raises(ValueError, match="'u2net' and 'u2netp'; got 'u3net'"):
            U2Net("u3net")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least 32"):
            U2Net("u2netp", input_size=(16, 320))


def test_gradient_in_the_pixels(small_state: dict[str, Tensor]) -> None:
    """Central differences along a random direction, in float64."""
    double = {key: value.double() if value.is_floating_point() else value for key, value in small_state.items()}
    model = registry.load("u2netp", double, input_size=(32, 40))
    # Noise, so that one pixel alone is the brightest, by which the image is divided.
    gradient, along, change = along_a_direction(model, uniform("noise", (1, 3, 30, 40)).double(), step=1e-9)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).double().mean() > 0.9
    torch.testing.assert_close(along, change, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["astronaut", "rocket", "coffee", "chelsea", "camera", "retina"])
@pytest.mark.parametrize("antialias", [True, False])
def test_images_are_resized_as_scikit_image_does(name: str, antialias: bool) -> None:
    data, transform = pytest.importorskip("skimage.data"), pytest.importorskip("skimage.transform")
    photo = np.asarray(getattr(data, name)())
    photo = np.repeat(photo[:, :, None], 3, axis=2) if photo.ndim == 2 else photo
    theirs = transform.resize(photo, (320, 320), mode="constant", anti_aliasing=antialias)
    ours = scikit_resize(torch.from_numpy(photo).permute(2, 0, 1)[None].double() / 255, (320, 320), antialias)
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - theirs).max() < 1e-6


@pytest.mark.parametrize("size", [(100, 140), (200, 500), (320, 320), (500, 60)])
@pytest.mark.parametrize("antialias", [True, False])
def test_images_without_dark_pixels_keep_their_range(size: tuple[int, int], antialias: bool) -> None:
    """Outside is black, which would make the border too dark (where enlarged, by 16 levels and more) without cutting to the range."""
    transform = pytest.importorskip("skimage.transform")
    images = 0.6 + 0.3 * seeded_images(1, *size).double()
    theirs = transform.resize(images[0].permute(1, 2, 0).numpy(), (320, 320), mode="constant", anti_aliasing=antialias)
    ours = scikit_resize(images, (320, 320), antialias)[0].permute(1, 2, 0)
    assert ours.min() >= images.min()
    assert np.abs(ours.numpy() - theirs).max() < 1e-6


def test_maps_come_back_within_one_gray_level(small: SaliencyModel) -> None:
    """The reference's route: the stretched map in bytes, resized by Pillow."""
    image = seeded_images(1, 150, 301)
    with torch.no_grad():
        stretched: Any = small.predict(image)[0, 0].numpy() * 255
        ours = np.floor(small(image)[0, 0].numpy() * 255)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = np.asarray(Image.fromarray(stretched).convert("RGB").resize((301, 150), Image.Resampling.BILINEAR))[:, :, 0]
    assert np.abs(ours - theirs.astype(float)).max() <= 1
