"""ImageReward and CycleReward: the numbers of their own programs on small weights, tokens, gradients, and clear words for wrong files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sgool.harness.seeded_weights import seeded_images
from sgool.rewards import registry
from sgool.rewards.bert_prompts import BertPrompts, find_vocabulary

from .saved_blip import CYCLE_REWARD, IMAGE_REWARD, SIDE, VOCABULARY, save_blip, state

PROMPTS = ["a red circle left of the big blue square", "cats", "the photo , a triangle"]
# What score_gard of github.com/THUDM/ImageReward and score of github.com/hjbahng/cyclereward, run with transformers 4.40 and timm 0.6.13,
# give for seeded_images(3, SIDE, SIDE), PROMPTS padded to their limit, and the weights of saved_blip.state.
RECORDED = {
    "ImageReward": (IMAGE_REWARD, [-1.0409554243087769, -1.320440411567688, -1.1162960529327393]),
    "CycleReward": (CYCLE_REWARD, [-0.5142700672149658, -0.43888482451438904, -0.4600505232810974]),
}


@pytest.fixture(scope="module", params=list(RECORDED))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a reward and its file; not to be changed."""
    return request.param, save_blip(tmp_path_factory.mktemp(request.param), RECORDED[request.param][0])


def test_scores_are_those_of_the_published_program(saved: tuple[str, Path]) -> None:
    name, file = saved
    assert registry.recognize(file) == name
    images = seeded_images(3, SIDE, SIDE)
    found = registry.load(file)(images, PROMPTS)
    torch.testing.assert_close(found, torch.tensor(RECORDED[name][1]), atol=1e-5, rtol=0)
    half = registry.load(file, torch.bfloat16)(images, PROMPTS)
    torch.testing.assert_close(half, found, atol=0.05, rtol=0)


def test_a_batch_of_prompts_of_several_lengths_equals_single_ones(saved: tuple[str, Path]) -> None:
    reward = registry.load(saved[1], torch.float64)
    images = seeded_images(3, 40, 50).double()
    alone = torch.cat([reward(images[row : row + 1], [PROMPTS[row]]) for row in range(3)])
    torch.testing.assert_close(reward(images, PROMPTS), alone)
    assert (reward(images, PROMPTS[:1]) - reward(images, PROMPTS[2:])).abs().max() > 1e-2, "the prompt counts"


def test_gradient_is_that_of_finite_differences(saved: tuple[str, Path]) -> None:
    reward = registry.load(saved[1], torch.float64)
    images = (0.3 + 0.4 * seeded_images(2, 9, 8).double()).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: reward(p, PROMPTS[:2]), (images,), fast_mode=True)


def test_half_precision_keeps_small_gradients(saved: tuple[str, Path]) -> None:
    images = seeded_images(1, 64, 64).requires_grad_()
    gradients = []
    for dtype in (torch.float32, torch.float16):
        reward = registry.load(saved[1], dtype)
        gradients.append(torch.autograd.grad(1e-6 * reward(images, PROMPTS[:1]).sum(), images)[0].flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


def test_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join([*VOCABULARY, "cafe", "!", "-"]) + "\n", encoding="utf-8")
    own = BertPrompts(find_vocabulary(tmp_path / "reward.pt", len(VOCABULARY) + 5), 12, "It")
    theirs = BertTokenizer.from_pretrained(tmp_path)
    sentences = ["A CATS-photo, of the café!", "", "right  of\tthe 犬 unheard", "a red circle left of the big blue square and a small cat"]
    for sentence in sentences:
        expected = theirs(sentence, truncation=True, max_length=12, return_tensors="pt")
        ids, mask = own([sentence])
        torch.testing.assert_close(ids, expected["input_ids"])
        torch.testing.assert_close(mask, expected["attention_mask"])


def test_words_left_out_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reward = registry.load(save_blip(tmp_path, IMAGE_REWARD))
    images = seeded_images(1, SIDE, SIDE)
    long = "a " * 33 + "small Blue cat"
    with caplog.at_level(logging.WARNING):
        first = reward(images, [long])
        reward(images, [long])
    torch.testing.assert_close(first, reward(images, ["a " * 33]))
    assert caplog.messages == ["ImageReward reads 33 tokens of a prompt; these words are left out: small Blue cat"]


def test_a_folder_as_the_hub_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "CycleReward-Combo"
    folder.mkdir()
    weights = {key: value for key, value in state(CYCLE_REWARD).items() if not key.endswith("position_ids")}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"max_length": 128}))
    with pytest.raises(ValueError, match=r"put vocab.txt of https://huggingface.co/google-bert/bert-base-uncased into"):
        registry.load(folder)
    (tmp_path / "bert-base-uncased").mkdir()
    (tmp_path / "bert-base-uncased" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    found = registry.load(folder)(seeded_images(3, SIDE, SIDE), PROMPTS)
    torch.testing.assert_close(found, torch.tensor(RECORDED["CycleReward"][1]), atol=1e-5, rtol=0)


def test_wrong_files_are_explained(tmp_path: Path) -> None:
    file = save_blip(tmp_path, IMAGE_REWARD)
    whole = file.read_bytes()
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"BERT \(uncased, 22 words\) .*What is there is of other models: vocab.txt"):
        registry.load(file)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    file.write_bytes(whole[:-5000])
    with pytest.raises(ValueError, match="truncated or damaged"):
        registry.load(file)

    def refused(words: str, **changes: Any) -> None:
        torch.save({**state(IMAGE_REWARD), **changes}, file)
        with pytest.raises(ValueError, match=words):
            registry.load(file)

    refused("not the weights of 'ImageReward': 1 are unknown to it .first 'blip.itm_head'", **{"blip.itm_head": torch.zeros(2)})
    refused("1 have another shape .first 'vision.post_layernorm.bias'", **{"blip.visual_encoder.norm.bias": torch.zeros(3)})
    kept = state(IMAGE_REWARD)
    del kept["blip.visual_encoder.blocks.1.attn.qkv.bias"]
    torch.save(kept, file)
    with pytest.raises(ValueError, match=r"1 of its .* weights are missing .first 'vision.encoder.layers.1.self_attn.qkv.bias'"):
        registry.load(file)
