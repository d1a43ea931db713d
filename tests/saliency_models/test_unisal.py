"""UNISAL: equal to the published network in each of its domains, fed and read as its authors do it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sgool.harness.derivatives import along_a_direction
from sgool.harness.seeded_weights import seeded_images, seeded_state
from sgool.image_ops.axis_filters import apply_matrices, lanczos_matrix
from sgool.image_ops.eight_bit import pillow_lanczos
from sgool.saliency_models import registry
from sgool.saliency_models.unisal import DOMAINS, Unisal, best_size
from sgool.schema.weights import WeightsError
from torch import Tensor

RECORDED = json.loads((Path(__file__).parent / "recorded" / "unisal.json").read_text())


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = Unisal("DHF1K").state_dict()  # with the recurrent part, as published
    return seeded_state(shapes, RECORDED["gains"])


def load(state: dict[str, Tensor], **options: Any) -> Unisal:
    model = registry.load("unisal", state, **options)
    assert isinstance(model, Unisal)
    return model


def test_published_size() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Unisal().parameters()) == 3_213_368
        assert sum(parameter.numel() for parameter in Unisal("DHF1K").parameters()) == 3_714_872


@pytest.mark.parametrize("domain", DOMAINS)
def test_equals_the_published_network(state: dict[str, Tensor], domain: str) -> None:
    """Recorded from the authors' implementation with the same seeded weights and images: the density over its maximum.

    For domains of videos the image is their first frame and goes through the recurrent part; going round it changes these by up to 147
    gray levels.
    """
    model = load(state, domain=domain)
    mean, std = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    with torch.no_grad():
        logits = model.network((seeded_images(*RECORDED["input"]) - mean) / std)
    density = torch.exp(logits - logits.max())
    stride = RECORDED["stride"]
    recorded = torch.tensor(RECORDED["maps"][domain])
    assert recorded.std() > 0.05
    torch.testing.assert_close(density[0, 0, stride // 2 :: stride, stride // 2 :: stride], recorded, rtol=0, atol=1e-5)


def test_recognized_with_its_recurrent_part(state: dict[str, Tensor]) -> None:
    """A published checkpoint also has a mask of the recurrent part's dropout."""
    published = {**state, "rnn.cell_list.0.drop_mask_1": torch.zeros(3, 256)}
    entry = registry.recognize(published)
    assert entry is not None
    assert entry.name == "unisal"
    for domain in DOMAINS:
        load(published, domain=domain)
    with pytest.raises(WeightsError, match=r"are missing \(first 'post_rnn.0.weight'\)"):
        load({key: value for key, value in state.items() if key != "post_rnn.0.weight"}, domain="UCFSports")


def test_every_other_key_must_be_there_and_used(state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"are unknown to it \(first 'rnn_extra'\)"):
        load({**state, "rnn_extra": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"are missing \(first 'smoothing_hollywood.weight'\)"):
        load({key: value for key, value in state.items() if key != "smoothing_hollywood.weight"})


def test_domains_differ_and_unknown_ones_are_refused(state: dict[str, Tensor]) -> None:
    images = seeded_images(1, 60, 80)
    with torch.no_grad():
        maps = [load(state, domain=domain, input_size=(64, 96))(images) for domain in DOMAINS]
    assert all((maps[0] - other).abs().max() > 0.01 for other in maps[1:])
    with pytest.raises(ValueError, match="SALICON, DHF1K, Hollywood, UCFSports; got 'MIT1003'"):
        load(state, domain="MIT1003")
    with pytest.raises(ValueError, match="positive multiples of 32"):
        load(state, input_size=(100, 100))


@pytest.mark.parametrize(
    ("size", "fitted"), [((480, 640), (288, 384)), ((1, 1), (320, 320)), ((1080, 1920), (256, 416)), ((3000, 10), (416, 256))]
)
def test_input_sizes(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert best_size(*size) == fitted


def test_batches_and_sizes(state: dict[str, Tensor]) -> None:
    model = load(state, input_size=(64, 96))
    images = seeded_images(2, 50, 81)
    with torch.no_grad():
        maps = model(images)
        singles = torch.cat([model(image[None]) for image in images])
        tiny = model(images[..., :1, :1])
    assert maps.shape == (2, 1, 50, 81)
    assert torch.equal(maps.amax(dim=(1, 2, 3)), torch.ones(2))
    assert maps.min() >= 0
    torch.testing.assert_close(maps, singles, rtol=0, atol=1e-5)
    assert tiny.shape == (2, 1, 1, 1)
    assert torch.equal(tiny, torch.ones(2, 1, 1, 1))


def test_gradient_in_the_pixels(state: dict[str, Tensor]) -> None:
    """Central differences along a random direction, in float64."""
    model = load(
        {key: value.double() if value.is_floating_point() else value for key, value in state.items()}, input_size=(32, 64), eight_bit=False
    )
    # Away from 0 and 1, where the resizing clips as the reference does.
    images = 0.2 + 0.6 * seeded_images(1, 30, 40).double()
    gradient, along, change = along_a_direction(model, images, step=1e-9)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).double().mean() > 0.9
    torch.testing.assert_close(along, change, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["astronaut", "rocket", "coffee", "chelsea", "camera", "retina"])
def test_within_one_gray_level_of_pillow(name: str) -> None:
    """Pillow rounds to bytes after each axis. Without that, rounding once for comparing, we are a level apart; with it equal."""
    data = pytest.importorskip("skimage.data")
    photo = np.asarray(getattr(data, name)())
    photo = np.repeat(photo[:, :, None], 3, axis=2) if photo.ndim == 2 else photo
    size = best_size(*photo.shape[:2])
    theirs = np.asarray(Image.fromarray(photo).resize(size[::-1], Image.Resampling.LANCZOS)).astype(float)
    ours = apply_matrices(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255, size, lanczos_matrix, clip=True)
    assert np.abs(np.round(ours[0].permute(1, 2, 0).numpy() * 255) - theirs).max() <= 1
    rounded = pillow_lanczos(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255, size)
    assert np.abs(rounded[0].permute(1, 2, 0).numpy() * 255 - theirs).max() < 1e-3
