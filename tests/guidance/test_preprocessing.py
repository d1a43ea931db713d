"""Differentiable preprocessing against the image processors of transformers, on photographs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sgool.guidance.eight_bit import resize_eight_bit
from sgool.guidance.preprocessing import Preprocessing
from skimage import data
from torch import Tensor
from torch.nn.functional import interpolate

PHOTOGRAPHS = ("astronaut", "rocket", "coffee", "chelsea", "camera", "retina", "panorama")
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
    pixels = data.coffee()[180:300] if name == "panorama" else getattr(data, name)()  # 120 x 600
    pixels = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 0, 2)) if turned else pixels)


def as_images(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255


def processors(config: dict[str, Any]) -> list[tuple[Any, Literal["torchvision", "pillow"]]]:
    """Those of transformers 5, torchvision's and Pillow's; of transformers 4 Pillow's, whose crop the other misses by a pixel."""
    import transformers

    endings = {"": "pillow"} if transformers.__version__.startswith("4.") else {"": "torchvision", "Pil": "pillow"}
    found = {getattr(transformers, config["image_processor_type"] + ending, None): kind for ending, kind in endings.items()}
    options = {key: value for key, value in config.items() if key != "image_processor_type"}
    return [(processor(**options), kind) for processor, kind in found.items() if processor is not None]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("turned", [False, True])
def test_agrees_with_the_models_own_processor(name: str, turned: bool, config: dict[str, Any]) -> None:
    image = photograph(name, turned)
    ours = Preprocessing.from_config(config)
    for processor, arithmetic in processors(config):
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        rounded = replace(ours, arithmetic=arithmetic)(as_images(image))
        smooth = ours(as_images(image), eight_bit=False)
        assert theirs.shape == rounded.shape == smooth.shape
        # Pillow 13 resizes some tall images along the height first; older ones, torchvision and we along the width.
        turns = arithmetic == "pillow" and turned and int(PIL.__version__.split(".")[0]) >= 13
        assert (theirs - rounded).abs().max() < 1e-2 or turns  # of all values; one 8-bit level is 0.0146 for CLIP
        for values, mean in ((rounded, 5e-3 if turns else 1e-5), (smooth, 5e-3)):
            assert (theirs - values).abs().mean() < mean
            assert torch.cosine_similarity(theirs.flatten().double(), values.flatten().double(), dim=0) > 1 - 1e-3
        # Without rounding: about one 8-bit level apart at most, after their two roundings of half a level each.
        assert turns or (theirs - smooth).abs().max() < 1.25 * LEVEL / min(config["image_std"])


def test_the_processors_name_decides_whose_bits() -> None:
    assert Preprocessing.from_config(CLIP).arithmetic == "torchvision"
    assert Preprocessing.from_config({**CLIP, "image_processor_type": "CLIPImageProcessorPil"}).arithmetic == "pillow"


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(2, 90) | st.integers(90, 700)] * 4),  # PyTorch 2.13 fails on lines of bytes one pixel wide
    kernel=st.sampled_from(["bilinear", "bicubic"]),
    seed=st.integers(0, 1 << 16),
)
def test_bytes_are_resized_as_by_torchvision_and_pillow(sizes: tuple[int, ...], kernel: Any, seed: int) -> None:
    height, width, to_height, to_width = sizes
    pixels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    torchvision = interpolate(pixels[None], (to_height, to_width), mode=kernel, antialias=True)[0]
    filter_ = Image.Resampling[kernel.upper()]
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    pillow = torch.from_numpy(np.asarray(image.resize((to_width, height), filter_).resize((to_width, to_height), filter_)).copy())
    for arithmetic, theirs in (("torchvision", torchvision), ("pillow", pillow.permute(2, 0, 1))):
        for with_gradient in (False, True):
            images = (pixels[None].float() / 255).requires_grad_(with_gradient)
            ours = resize_eight_bit(images, (to_height, to_width), kernel, arithmetic)[0].detach() * 255
            torch.testing.assert_close(ours, theirs.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [(33, 47), (224, 335), (225, 224), (500, 100), (224, 224), (7, 9)])
def test_sizes_and_crops_are_cut_off_as_theirs(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    for processor, arithmetic in processors(CLIP)[:1]:
        ours = replace(Preprocessing.from_config(CLIP), arithmetic=arithmetic)(as_images(image))
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        assert (theirs - ours).abs().mean() < 1e-3  # one pixel aside, noise differs by about 1


@pytest.mark.parametrize("config", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_gradient_is_that_of_finite_differences(config: dict[str, Any]) -> None:
    small = {"size": {"shortest_edge": 5} if config is CLIP else {"height": 5, "width": 6}, "crop_size": {"height": 5, "width": 4}}
    images = (0.3 + 0.4 * torch.rand(2, 3, 9, 11, dtype=torch.float64)).requires_grad_()
    ours = Preprocessing.from_config({**config, **small})
    assert torch.autograd.gradcheck(lambda p: ours(p, eight_bit=False), (images,))


def test_gradient_passes_straight_through_the_rounding() -> None:
    ours = Preprocessing.from_config(CLIP)
    images = (0.3 + 0.4 * torch.rand(1, 3, 300, 260)).requires_grad_()
    weights = torch.randn(1, 3, 224, 224)
    smooth, rounded = (torch.autograd.grad((ours(images, eight_bit=e) * weights).sum(), images)[0] for e in (False, True))
    torch.testing.assert_close(smooth, rounded)


@pytest.mark.parametrize("with_gradient", [False, True])
def test_what_is_not_a_number_is_not_hidden_by_rounding(with_gradient: bool) -> None:
    images = torch.rand(3, 3, 40, 30)
    images[1, 0, 5, 7] = torch.nan
    images[2] = torch.inf
    values = Preprocessing(size=(16, 16), crop=(16, 16))(images.requires_grad_(with_gradient))
    assert values.isnan().flatten(1).any(1).tolist() == [False, True, False]
    assert torch.isfinite(values[2]).all()


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), batch=st.integers(1, 3))
def test_any_size_gives_the_models_size(height: int, width: int, batch: int) -> None:
    images = torch.rand(batch, 3, height, width) * 1.2 - 0.1
    values = Preprocessing(size=(16, 16), crop=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)(images)
    assert values.shape == (batch, 3, 16, 16)
    assert values.min() >= 0
    assert values.max() <= 1
    torch.testing.assert_close(values[:1], Preprocessing(size=(16, 16), crop=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)(images[:1]))


def test_what_a_configuration_leaves_out() -> None:
    assert Preprocessing.from_config({}) == Preprocessing()
    assert Preprocessing.from_config({"size": 336, "crop_size": 336}).crop == (336, 336)
    siglip = Preprocessing.from_config({"image_processor_type": "SiglipImageProcessor"})
    assert (siglip.resize, siglip.size, siglip.crop, siglip.mean) == ("exact", (224, 224), None, (0.5, 0.5, 0.5))
    bare = Preprocessing.from_config({"do_resize": False, "do_center_crop": False, "do_normalize": False, "do_rescale": False})
    images = torch.rand(1, 3, 4, 5)
    torch.testing.assert_close(bare(images, eight_bit=False), images * 255)
    torch.testing.assert_close(bare(images), torch.floor(images * 255 + 0.5))
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
