"""The list of rewards: what a file or folder is, the same numbers through it, and clear words for what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sgool.rewards import registry
from sgool.rewards.encoder_files import load_encoder
from sgool.rewards.interface import Reward


def test_a_saved_encoder_is_recognized_and_scores_by_its_cosine(saved_clip: Path) -> None:
    images = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    assert registry.recognize(saved_clip) == "CLIP, SigLIP or PickScore"
    with torch.inference_mode():  # as ComfyUI's nodes ask
        reward = registry.load(saved_clip)
    assert isinstance(reward, Reward)
    encoder = load_encoder(saved_clip)
    expected = torch.cosine_similarity(encoder.encode_image(images), encoder.encode_text(["a cat", "a red circle"]))
    torch.testing.assert_close(reward(images, ["a cat", "a red circle"]), expected)
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(reward(images, ["a cat"]).sum(), images)
    assert gradient.abs().amax((1, 2, 3)).min() > 0


def test_what_is_no_reward_is_refused_with_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert registry.recognize(tmp_path / "notes.txt") is None
    with pytest.raises(ValueError, match=r"notes\.txt is no reward that is known here\. Known are: .*CLIP, SigLIP or PickScore"):
        registry.load(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"gone is not there\. Known are: "):
        registry.load(tmp_path / "gone")
