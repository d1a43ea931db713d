"""Encoders of transformers: the same vectors as transformers itself, gradients, and clear words about broken folders."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sgool.rewards.encoder_files import download_encoder, load_encoder
from sgool.rewards.encoders import TransformersEncoder
from sgool.rewards.interface import Reward, TextImageEncoder, check_widths
from sgool.schema.prompts import one_per_image, plain_prompts
from skimage import data

from .saved_models import save_tokenizer


def reference(folder: Path, prompts: list[str], image: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
    """What transformers gives with its own classes and its own preprocessing."""
    import transformers

    config = json.loads((folder / "preprocessor_config.json").read_text())
    processor = getattr(transformers, config.pop("image_processor_type"))(**config)
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    tokens = tokenizer(prompts, padding="max_length", max_length=12, truncation=True, return_tensors="pt")
    inputs = {"input_ids": tokens["input_ids"], "pixel_values": processor(image, return_tensors="pt")["pixel_values"]}
    if model.config.model_type == "clip":
        inputs["attention_mask"] = tokens["attention_mask"]
    with torch.no_grad():
        output = model(**inputs)
    return output.text_embeds, output.image_embeds


def test_vectors_are_those_of_transformers(saved: Path) -> None:
    prompts = ["a red circle left of the big blue square", "cat"]
    encoder = load_encoder(saved)
    assert isinstance(encoder, TextImageEncoder)
    for name in ("astronaut", "rocket", "coffee", "chelsea", "retina"):
        image = Image.fromarray(getattr(data, name)())
        text, embedded = reference(saved, prompts, image)
        images = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255
        torch.testing.assert_close(encoder.encode_text(prompts), text, atol=1e-5, rtol=0)
        assert torch.cosine_similarity(encoder.encode_image(images), embedded).item() > 1 - 1e-3


def test_gradient_is_that_of_finite_differences(saved: Path) -> None:
    encoder = load_encoder(saved, torch.float64)
    text = encoder.encode_text(["a red circle"])
    images = 0.3 + 0.4 * torch.rand(2, 3, 9, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: encoder.encode_image(p) @ text.T, (images.requires_grad_(),), fast_mode=True)


def test_a_batch_equals_single_images(encoder: TransformersEncoder) -> None:
    images = torch.rand(3, 3, 40, 50, dtype=torch.float64)
    torch.testing.assert_close(encoder.encode_image(images), torch.cat([encoder.encode_image(each[None]) for each in images]))


def test_made_in_inference_mode_still_gives_gradients(saved: Path) -> None:
    with torch.inference_mode():
        encoder = load_encoder(saved)
        text = encoder.encode_text(["cat"])
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad((encoder.encode_image(images) @ text.T).sum(), images)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


def cosine_to_float32(folder: Path, dtype: torch.dtype, images: torch.Tensor, size: float) -> torch.Tensor:
    """``(B,)``: of each image's gradient in half precision and in float32, where the loss is a cosine times ``size``."""
    gradients = []
    for encoder in (load_encoder(folder), load_encoder(folder, dtype)):
        leaf = images.clone().requires_grad_()
        loss = size * encoder(leaf, ["a red circle"]).sum()
        gradient = torch.autograd.grad(loss, leaf)[0].double().flatten(1)
        gradients.append(gradient / gradient.norm(dim=1, keepdim=True))
    return (gradients[0] * gradients[1]).sum(dim=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e3, 1.0, 1e-5, 1e-7])
def test_half_precision_keeps_gradients_of_any_size(saved_clip: Path, dtype: torch.dtype, size: float) -> None:
    images = torch.rand(2, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    assert cosine_to_float32(saved_clip, dtype, images, size).min() > 0.99


def test_words_left_out_are_named(encoder: TransformersEncoder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encoder.encode_text(["a red circle"])
        assert not caplog.messages
        for _ in range(2):
            encoder.encode_text(["a " * 10 + "small blue cat"])
    assert len(caplog.messages) == 1
    assert "small blue cat" in caplog.messages[0]


def test_configuration_inside_processor_config(own_clip: Path) -> None:
    inner = json.loads((own_clip / "preprocessor_config.json").read_text())
    (own_clip / "preprocessor_config.json").unlink()
    (own_clip / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    assert load_encoder(own_clip).image_size == 32


def _remove(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names].clear()


def _edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))

    return edit


def _truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def _only_vision(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({key: value for key, value in tensors.items() if "text" not in key}, folder / "model.safetensors", metadata={"format": "pt"})


def _another_width(folder: Path) -> None:
    _edit("config.json", projection_dim=48)(folder)


def _pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _no_end_token(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(content))


def _larger_vocabulary(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["a"] = 900
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_remove("config.json"), "no config.json"),
        (_remove("model.safetensors"), "no model.safetensors"),
        (_pickle_only, "can hold code"),
        (_remove("preprocessor_config.json"), "no preprocessor_config.json"),
        (_remove("tokenizer.json"), "no tokenizer"),
        (_truncate, "not a whole safetensors file"),
        (_only_vision, "lack .* of the model's tensors"),
        (_another_width, "do not fit its config.json"),
        (_no_end_token, "do not end with token 3"),
        (_larger_vocabulary, "knows only"),
        (_edit("config.json", model_type="bert"), "'bert'"),
        (_edit("config.json", model_type="siglip2"), "'siglip2'"),
        (_edit("preprocessor_config.json", resample=1), "lanczos"),
        (lambda folder: (folder / "config.json").write_text("{"), "not readable JSON"),
        (lambda folder: (folder / "tokenizer.json").write_text("[]"), "tokenizer in .* could not be read"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("[]"), "a dictionary is expected"),
        (shutil.rmtree, "not a folder"),
    ],
)
def test_a_broken_folder_is_explained(own_clip: Path, damage: Callable[[Path], Any], words: str) -> None:
    damage(own_clip)
    with pytest.raises(ValueError, match=words):
        load_encoder(own_clip)


def test_a_missing_part_of_sharded_weights_is_named(own_clip: Path) -> None:
    (own_clip / "model.safetensors").unlink()
    index = {"weight_map": {"logit_scale": "model-00001-of-00002.safetensors"}}
    (own_clip / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="lacks model-00001-of-00002"):
        load_encoder(own_clip)


def test_a_name_that_is_none_is_explained() -> None:
    with pytest.raises(ValueError, match="not the name of a model"):
        download_encoder("not a name")


def test_towers_of_different_widths_are_named() -> None:
    with pytest.raises(ValueError, match=r"768 numbers .* 1280"):
        check_widths(torch.zeros(1, 768), torch.zeros(1, 1280))


def test_empty_prompts_are_refused() -> None:
    assert plain_prompts([" a cat "], "prompt") == ["a cat"]
    with pytest.raises(ValueError, match="The prompt is empty"):
        plain_prompts([" "], "prompt")
    with pytest.raises(ValueError, match="prompt 2 of 2 is empty"):
        plain_prompts(["a", ""], "prompt")


def test_an_encoder_is_a_reward_whose_value_is_the_cosine(encoder: TransformersEncoder) -> None:
    assert isinstance(encoder, Reward)
    images = torch.rand(2, 3, 30, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = encoder(images, ["a red circle", "cat"])
    expected = torch.cosine_similarity(encoder.encode_image(images), encoder.encode_text(["a red circle", "cat"]))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(encoder(images, ["cat"])[1:], found[1:])
    assert one_per_image(["a"], 2) == ["a", "a"]
    with pytest.raises(ValueError, match="There are 2 prompts for 3 images; give one for all images, or one for each"):
        encoder(torch.rand(3, 3, 30, 40, dtype=torch.float64), ["a", "b"])


def test_pickscore_is_the_cosine_of_its_own_program(own_clip: Path) -> None:
    """Its configuration has the old end token 2, with which transformers takes the highest token; prompts are padded there."""
    from transformers import CLIPModel, PreTrainedTokenizerFast

    save_tokenizer(own_clip, end_last=True)
    config = json.loads((own_clip / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (own_clip / "config.json").write_text(json.dumps(config))
    reward: Any = load_encoder(own_clip)
    images, prompts = torch.rand(3, 3, 40, 50, generator=torch.Generator().manual_seed(0)), ["a red circle", "cat", "the big blue square"]
    model: Any = CLIPModel.from_pretrained(own_clip).eval()
    tokens = PreTrainedTokenizerFast.from_pretrained(own_clip)(prompts, padding=True, truncation=True, max_length=12, return_tensors="pt")
    with torch.no_grad():
        inputs = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        output = model(**inputs, pixel_values=reward.preprocessing(images))
    expected = torch.diagonal(output.logits_per_text) / model.logit_scale.exp()
    torch.testing.assert_close(reward(images, prompts), expected, atol=1e-5, rtol=0)
    assert reward(images[:1].expand(3, -1, -1, -1), prompts).std() > 1e-3, "prompts tell"
