"""Differentiable preprocessing against the image processors of transformers, on photographs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sgool.rewards.preprocessing import Preprocessing
from skimage import data
from torch import Tensor

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
    """Those of transformers 5, torchvision's and Pillow's; of transformers 4 Pillow's."""
    import transformers

    endings = {"": "pillow"} if transformers.__version__.startswith("4.") else {"": "torchvision", "Pil": "pillow"}
    found = {getattr(transformers, config["image_processor_type"] + ending, None): kind for ending, kind in endings.items()}
    options = {key: value for key, value in config.items() if key != "image_processor_type"}
    return [(processor(**options), kind) for processor, kind in found.items() if processor is not None]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("turned", [False, True])
def test_agrees_with_the_models_own_processors(name: str, turned: bool, config: dict[str, Any]) -> None:
    """Theirs round to bytes twice, half a level each time."""
    image = photograph(name, turned)
    ours = Preprocessing.from_config(config)(as_images(image))
    for processor, program in processors(config):
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        assert theirs.shape == ours.shape
        difference = (theirs - ours).abs() * torch.tensor(config["image_std"])[:, None, None] / LEVEL
        # Pillow 13 resizes some tall images along the height first, and cuts overshoot off in another order.
        if program == "pillow" and turned and int(PIL.__version__.split(".")[0]) >= 13:
            assert (difference > 1.25).float().mean() < 3e-3
        else:
            assert difference.max() < 1.25
        assert difference.mean() < 0.35
        assert torch.cosine_similarity(theirs.flatten().double(), ours.flatten().double(), dim=0) > 1 - 1e-4


@pytest.mark.parametrize("size", [(33, 47), (224, 335), (225, 224), (500, 100), (224, 224), (7, 9)])
def test_sizes_and_crops_are_cut_off_as_theirs(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    ours = Preprocessing.from_config(CLIP)(as_images(image))
    theirs = processors(CLIP)[0][0](image, return_tensors="pt")["pixel_values"]
    assert (theirs - ours).abs().mean() < 1e-2  # one pixel aside, noise differs by about 1


@pytest.mark.parametrize("config", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_gradient_is_that_of_finite_differences(config: dict[str, Any]) -> None:
    small = {"size": {"shortest_edge": 5} if config is CLIP else {"height": 5, "width": 6}, "crop_size": {"height": 5, "width": 4}}
    images = (0.3 + 0.4 * torch.rand(2, 3, 9, 11, dtype=torch.float64)).requires_grad_()
    ours = Preprocessing.from_config({**config, **small})
    assert torch.autograd.gradcheck(ours, (images,))


def test_what_is_not_a_number_is_not_hidden() -> None:
    images = torch.rand(3, 3, 40, 30)
    images[1, 0, 5, 7] = torch.nan
    images[2] = torch.inf
    values = Preprocessing(size=(16, 16), crop=(16, 16))(images)
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
    torch.testing.assert_close(bare(images), images * 255)
    assert bare.output_size is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"resample": 1}, "lanczos"),
        ({"size": {"shortest_edge": 3, "longest_edge": 9}}, "longest_edge"),
        ({"image_std": [0.5, 0.5, 0.0]}, "no deviation zero"),
        ({"image_mean": [0.5]}, "three numbers"),
        ({"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875}, "crop_pct"),
    ],
)
def test_what_is_not_supported_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Preprocessing.from_config(config)


@pytest.mark.parametrize("name", ["Siglip2ImageProcessor", "Siglip2ImageProcessorPil", "Siglip2ImageProcessorFast"])
def test_a_processor_of_variable_resolution_is_refused(name: str, tmp_path: Path) -> None:
    """SigLIP 2's NaFlex has neither a size nor a crop: it would be read as 224 x 224."""
    import transformers

    processor = getattr(transformers, name, None)
    if processor is None:
        pytest.skip(f"transformers {transformers.__version__} has no {name}")
    processor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="NaFlex"):
        Preprocessing.from_config(json.loads((tmp_path / "preprocessor_config.json").read_text()))


@pytest.mark.parametrize("name", ["CLIPImageProcessor", "SiglipImageProcessor"])
def test_pillows_processors_are_saved_and_read_as_the_others(name: str, tmp_path: Path) -> None:
    """transformers drops their ending, so that a file cannot tell them apart, and nothing here may depend on it."""
    import transformers

    found = []
    for ending in ("", "Pil"):
        processor = getattr(transformers, name + ending, None)
        if processor is not None:
            processor().save_pretrained(tmp_path / f"as{ending}")
            found.append(Preprocessing.from_config(json.loads((tmp_path / f"as{ending}" / "preprocessor_config.json").read_text())))
    assert found[0] == found[-1]
