"""SigLIP 2 NaFlex against transformers' own processor and model, on images of several aspect ratios."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sgool.harness.seeded_weights import seeded_images
from sgool.rewards import registry
from sgool.rewards.interface import TextImageEncoder
from sgool.rewards.naflex import NaflexEncoder, PatchPreprocessing
from skimage import data
from torch import Tensor

from .saved_models import save_naflex

PATCH, BUDGET = 8, 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("naflex")
    torch.manual_seed(0)
    save_naflex(path, PATCH, BUDGET)
    return path


def reference(folder: Path, image: Image.Image, prompts: list[str]) -> tuple[Tensor, Tensor]:
    """The vectors of image and prompts by transformers alone; patches that are missing are padded and masked there."""
    from transformers import PreTrainedTokenizerFast, Siglip2ImageProcessor, Siglip2Model

    model: Any = Siglip2Model.from_pretrained(folder).eval()
    processor: Any = Siglip2ImageProcessor.from_pretrained(folder)
    tokens = PreTrainedTokenizerFast.from_pretrained(folder)(prompts, padding="max_length", max_length=12, return_tensors="pt")
    with torch.no_grad():
        output = model(input_ids=tokens["input_ids"], **processor(image, return_tensors="pt"))
    return output.image_embeds, output.text_embeds


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("size", [(40, 32), (24, 64), (184, 8)])
def test_vectors_are_those_of_transformers(folder: Path, size: tuple[int, int]) -> None:
    """Sizes that the budget leaves as they are: nothing is rounded, and the numbers are the same."""
    image = Image.fromarray((seeded_images(1, *size)[0].permute(1, 2, 0) * 255).byte().numpy())
    encoder = registry.load(folder)
    assert isinstance(encoder, NaflexEncoder)
    assert isinstance(encoder, TextImageEncoder)
    assert encoder.preprocessing(tensor(image)).shape[-2:] == size
    prompts = ["A red circle", "the big blue cat"]
    expected = reference(folder, image, prompts)
    torch.testing.assert_close(encoder.encode_image(tensor(image)), expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_text(prompts), expected[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["astronaut", "rocket", "coffee", "retina"])
def test_photographs_fit_into_the_budget_as_there(folder: Path, name: str) -> None:
    image = Image.fromarray(getattr(data, name)())
    encoder: Any = registry.load(folder)
    expected, _ = reference(folder, image, ["a cat"])
    assert torch.cosine_similarity(encoder.encode_image(tensor(image)), expected).item() > 1 - 1e-3


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 300))
def test_no_more_patches_than_the_budget(height: int, width: int, budget: int) -> None:
    preprocessing = PatchPreprocessing.from_config({"patch_size": 16, "max_num_patches": budget})
    down, across = preprocessing._resized(height, width)
    assert down % 16 == across % 16 == 0
    assert 0 < (down // 16) * (across // 16) <= budget


def test_gradient_is_that_of_finite_differences(folder: Path) -> None:
    reward = registry.load(folder, torch.float64)
    images = (0.3 + 0.4 * seeded_images(2, 21, 34).double()).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: reward(p, ["a red circle", "cat"]), (images,), fast_mode=True)
    alone = torch.cat([reward(image[None], ["cat"]) for image in images])
    torch.testing.assert_close(reward(images, ["cat"]), alone)


def test_a_processor_of_another_model_is_explained(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**config, "max_num_patches": -3}))
    with pytest.raises(ValueError, match=r"preprocessor_config.json: The image processor's patch_size 8 and max_num_patches -3"):
        registry.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"has no model.safetensors"):
        registry.load(tmp_path)
