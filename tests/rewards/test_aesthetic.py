"""LAION's aesthetic predictor against its formula, written out with torch's own layers, and what is said where files are missing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from sgool.harness.seeded_weights import seeded_images, seeded_state
from sgool.rewards import registry
from torch import Tensor, nn

from .saved_models import save_clip

FILE = "sac+logos+ava1-l14-linearMSE.pth"


def published() -> nn.Sequential:
    """The network of simple_inference.py; its keys are those of the published file below ``layers.``."""
    some: list[nn.Module] = [nn.Linear(768, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2), nn.Linear(128, 64)]
    network = nn.Sequential(*some, nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1)).eval()
    network.load_state_dict(seeded_state(network.state_dict()))
    return network


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``models/rewards`` with the predictor and a small CLIP of the width it reads; not to be changed."""
    folder = tmp_path_factory.mktemp("rewards")
    torch.manual_seed(0)
    (folder / "clip-vit-large-patch14").mkdir()
    save_clip(folder / "clip-vit-large-patch14", projection=768)
    torch.save({f"layers.{key}": value for key, value in published().state_dict().items()}, folder / FILE)
    return folder


def reference(folder: Path, pixels: Tensor) -> Tensor:
    from transformers import CLIPModel

    clip: Any = CLIPModel.from_pretrained(folder).double().eval()
    vectors = clip.vision_model(pixel_values=pixels).pooler_output @ clip.visual_projection.weight.T
    scores: Tensor = published().double()(vectors / (vectors**2).sum(1, keepdim=True).sqrt())[:, 0]
    return scores


def test_scores_are_those_of_the_formula(rewards: Path) -> None:
    assert registry.recognize(rewards / FILE) == "LAION aesthetic predictor"
    reward: Any = registry.load(rewards / FILE, torch.float64)
    images = seeded_images(3, 40, 60).double()
    expected = reference(rewards / "clip-vit-large-patch14", reward.preprocessing(images))
    torch.testing.assert_close(reward(images, [""]), expected, atol=1e-10, rtol=0)
    assert expected.std() > 1e-4, "images that score alike show nothing"
    single = registry.load(rewards / FILE)
    torch.testing.assert_close(single(images.float(), [""]).double(), expected, atol=1e-5, rtol=0)
    half = registry.load(rewards / FILE, torch.bfloat16)
    torch.testing.assert_close(half(images.float(), [""]).double(), expected, atol=5e-2, rtol=0)


def test_gradient_is_that_of_finite_differences(rewards: Path) -> None:
    reward = registry.load(rewards / FILE, torch.float64)
    images = (0.3 + 0.4 * torch.rand(2, 3, 9, 8, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: reward(p, [""]), (images,), fast_mode=True)


def test_it_says_once_that_it_reads_no_prompt(rewards: Path, caplog: pytest.LogCaptureFixture) -> None:
    reward = registry.load(rewards / FILE)
    images = seeded_images(2, 32, 32)
    with caplog.at_level(logging.WARNING):
        alone = reward(images, [""])
        assert not caplog.messages
        for prompts in (["a cat"], ["a cat", "a dog"]):
            torch.testing.assert_close(reward(images, prompts), alone)
    assert len(caplog.messages) == 1
    assert "looks at the image alone" in caplog.messages[0]


def test_what_is_missing_or_wrong_is_named(rewards: Path, tmp_path: Path) -> None:
    content = (rewards / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"put a folder clip-vit-large-patch14 into .* of https://huggingface.co/openai"):
        registry.load(tmp_path / FILE)
    (tmp_path / "another").mkdir()
    save_clip(tmp_path / "another")
    with pytest.raises(ValueError, match="another there: not a CLIP of that kind"):
        registry.load(tmp_path / FILE)
    (tmp_path / FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated or damaged"):
        registry.load(tmp_path / FILE)
    torch.save({"layers.0.weight": torch.zeros(1024, 768), "layers.7.weight": torch.zeros(1, 16)}, tmp_path / FILE)
    with pytest.raises(ValueError, match=r"not the weights of .LAION aesthetic predictor.: 8 of its 10 weights are missing"):
        registry.load(tmp_path / FILE)
    torch.save({"something": torch.zeros(3)}, tmp_path / FILE)
    with pytest.raises(ValueError, match="no reward that is known here"):
        registry.load(tmp_path / FILE)
