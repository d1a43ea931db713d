"""Differentiable preprocessing against the image processors of transformers, on photographs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sgool.guidance.preprocessing import Preprocessing
from skimage import data
from torch import Tensor

PHOTOGRAPHS = ("astronaut", "rocket", "coffee", "chelsea", "camera", "retina")
CLIP: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "resample": 3,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
SIGLIP: dict[str, Any] = {
    "image_processor_type": "SiglipImageProcessor",
    "size": {"height": 384, "width": 384},
    "resample": 3,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
CONFIGS = {
    "clip 224": CLIP,
    "clip 336": {**CLIP, "size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}},
    "clip 64, photographs shrunk a lot": {**CLIP, "size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
    "siglip 384": SIGLIP,
    "siglip 2, bilinear": {**SIGLIP, "size": {"height": 256, "width": 256}, "resample": 2},
}
LEVEL = 1 / 255


def photograph(name: str, turned: bool = False) -> Image.Image:
    pixels = getattr(data, name)()
    pixels = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 0, 2)) if turned else pixels)


def as_pictures(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255


def processors(config: dict[str, Any]) -> list[Any]:
    """The processors of transformers 5, torchvision's and Pillow's; of transformers 4 Pillow's, whose crop the other misses by a pixel."""
    import transformers

    name = config["image_processor_type"]
    endings = ("",) if transformers.__version__.startswith("4.") else ("", "Pil")
    found = [getattr(transformers, name + ending, None) for ending in endings]
    return [kind(**{key: value for key, value in config.items() if key != "image_processor_type"}) for kind in found if kind is not None]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("turned", [False, True])
def test_agrees_with_the_models_own_processor(name: str, turned: bool, config: dict[str, Any]) -> None:
    image = photograph(name, turned)
    ours = Preprocessing.from_config(config)
    smooth, rounded = ours(as_pictures(image)), ours(as_pictures(image), eight_bit=True)
    level = LEVEL / min(config["image_std"])
    for processor in processors(config):
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        assert theirs.shape == smooth.shape
        # Rounded as they round: the same values, but for those whose exact result is nearly halfway between two levels. Their own two
        # processors differ from each other in as many, and in more where Pillow 13 resizes tall pictures along the height first.
        pillow_turns = turned and type(processor).__name__.endswith("Pil")
        assert (theirs - rounded).abs().mean() < (2e-3 if pillow_turns else 1e-4)
        assert ((theirs - rounded).abs() > 1e-2).float().mean() < 6e-3
        # Without rounding: about one 8-bit level apart at most, after their two roundings of half a level each.
        difference = (theirs - smooth).abs()
        assert difference.mean() < 5e-3
        assert pillow_turns or difference.max() < 1.25 * level
        assert torch.cosine_similarity(theirs.flatten().double(), smooth.flatten().double(), dim=0) > 1 - 1e-3


@pytest.mark.parametrize("size", [(33, 47), (224, 335), (225, 224), (500, 100), (224, 224), (7, 9)])
def test_sizes_and_crops_are_cut_off_as_theirs(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    ours = Preprocessing.from_config(CLIP)(as_pictures(image), eight_bit=True)
    for processor in processors(CLIP)[:1]:
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        assert (theirs - ours).abs().mean() < 1e-3  # one pixel aside, noise differs by about 1


@pytest.mark.parametrize("config", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_gradient_is_that_of_finite_differences(config: dict[str, Any]) -> None:
    small = {"size": {"shortest_edge": 5} if config is CLIP else {"height": 5, "width": 6}, "crop_size": {"height": 5, "width": 4}}
    pictures = (0.3 + 0.4 * torch.rand(2, 3, 9, 11, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(Preprocessing.from_config({**config, **small}), (pictures,))


def test_gradient_passes_straight_through_the_rounding() -> None:
    ours = Preprocessing.from_config(CLIP)
    pictures = (0.3 + 0.4 * torch.rand(1, 3, 300, 260)).requires_grad_()
    weights = torch.randn(1, 3, 224, 224)
    smooth, rounded = (torch.autograd.grad((ours(pictures, eight_bit=e) * weights).sum(), pictures)[0] for e in (False, True))
    torch.testing.assert_close(smooth, rounded)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), batch=st.integers(1, 3))
def test_any_size_gives_the_models_size(height: int, width: int, batch: int) -> None:
    pictures = torch.rand(batch, 3, height, width) * 1.2 - 0.1
    values = Preprocessing(size=(16, 16), crop=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)(pictures)
    assert values.shape == (batch, 3, 16, 16)
    assert values.min() >= 0
    assert values.max() <= 1
    torch.testing.assert_close(values[:1], Preprocessing(size=(16, 16), crop=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)(pictures[:1]))


def test_what_a_configuration_leaves_out() -> None:
    assert Preprocessing.from_config({}) == Preprocessing()
    assert Preprocessing.from_config({"size": 336, "crop_size": 336}).crop == (336, 336)
    siglip = Preprocessing.from_config({"image_processor_type": "SiglipImageProcessor"})
    assert (siglip.resize, siglip.size, siglip.crop, siglip.mean) == ("exact", (224, 224), None, (0.5, 0.5, 0.5))
    bare = Preprocessing.from_config({"do_resize": False, "do_center_crop": False, "do_normalize": False, "do_rescale": False})
    pictures = torch.rand(1, 3, 4, 5)
    torch.testing.assert_close(bare(pictures), pictures * 255)
    assert bare.output_size is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"resample": 1}, "lanczos"),
        ({"size": {"shortest_edge": 3, "longest_edge": 9}}, "longest_edge"),
        ({"image_std": [0.5, 0.5, 0.0]}, "no deviation zero"),
        ({"image_mean": [0.5]}, "three numbers"),
    ],
)
def test_what_is_not_supported_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Preprocessing.from_config(config)
