"""The demo model through ComfyUI's own classes, with the weights that the pack ships."""

from __future__ import annotations

import comfy.sample
import comfy.samplers
import pytest
import torch
from sgool.demo import loader, weights
from sgool.demo.architecture import LATENT_CHANNELS, build_generator_text_encoder
from sgool.demo.judging import judge_images
from sgool.demo.photographs import NAMES, photograph
from sgool.demo.render import render
from sgool.demo.scenes import draw_scenes
from sgool.demo.tokens import build_tokenizer
from sgool.demo.training.judge import accuracy
from skimage import data

pytestmark = pytest.mark.comfyui
PROMPT = "a large red circle"


@pytest.fixture(scope="module")
def parts():
    with torch.inference_mode():
        return loader.load_model(), loader.load_clip(), loader.load_vae()


@pytest.fixture(scope="module")
def held_out_scenes():
    scenes = draw_scenes(100, 77, keep_held_out=True)
    return scenes, torch.stack([render(scene) for scene in scenes])


def sample(parts, prompt: str, seeds: int, cfg: float = 3.0) -> torch.Tensor:
    model, clip, vae = parts
    with torch.inference_mode():
        positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (prompt, ""))
        empty = torch.zeros(seeds, LATENT_CHANNELS, 8, 8)
        noise = comfy.sample.prepare_noise(empty, 0)
        latent = comfy.sample.sample(model, noise, 12, cfg, "euler", "normal", positive, negative, empty, denoise=1.0, disable_pbar=True)
        return vae.decode(latent).movedim(-1, 1).float()


def test_weights_together_are_small_and_half_precision() -> None:
    files = list(weights.WEIGHTS.rglob("*"))
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 14_000_000
    assert all(tensor.dtype == torch.float16 for name in ("unet", "text", "vae", "judge") for tensor in weights.read(name).values())


def test_text_encoder_is_the_one_that_was_trained(parts) -> None:
    """ComfyUI's CLIPTextModel on these weights against transformers' on the same."""
    reference = build_generator_text_encoder()
    stored = {key: value.float() for key, value in weights.read("text").items()}
    own = reference.state_dict()
    prefix = "" if next(iter(own)).startswith("text_model.") else "text_model."
    reference.load_state_dict({key: stored.get(prefix + key, value) for key, value in own.items()})
    rows = build_tokenizer()(PROMPT, padding="max_length", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = reference.eval()(input_ids=rows).last_hidden_state
        clip = parts[1]
        actual = clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT))[0][0]
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual.float(), expected, atol=2e-3, rtol=2e-3)


def test_autoencoder_keeps_images(parts, held_out_scenes) -> None:
    _, images = held_out_scenes
    vae = parts[2]
    with torch.inference_mode():
        latents = vae.encode(images.movedim(1, -1))
        decoded = vae.decode(latents).movedim(-1, 1).float()
    assert latents.shape == (len(images), LATENT_CHANNELS, 8, 8)
    error = (decoded - images).square().mean()
    assert -10 * torch.log10(error) > 24


def test_judge_finds_scenes_right(held_out_scenes) -> None:
    scenes, images = held_out_scenes
    verdicts = judge_images(loader.load_judge(), images, [scene.caption.text() for scene in scenes])
    assert sum(verdict.right for verdict in verdicts) >= 97
    shuffled = [scene.caption.text() for scene in scenes[1:] + scenes[:1]]
    assert sum(verdict.right for verdict in judge_images(loader.load_judge(), images, shuffled)) < 10


def test_sampling_paints_what_is_asked(parts) -> None:
    """A single large object is the easiest prompt; another prompt from the same noise gives another object."""
    judge = loader.load_judge()
    red = sample(parts, PROMPT, 8)
    blue = sample(parts, "a large blue square", 8)
    right = judge_images(judge, red, [PROMPT])
    assert sum(verdict.right for verdict in right) >= 4
    assert sum(verdict.right for verdict in judge_images(judge, blue, [PROMPT])) == 0


def test_previews_show_the_image(parts) -> None:
    """ComfyUI's fast preview, a linear map of latents, is a small blurred copy of the decoded image."""
    model, _, vae = parts
    images = torch.stack([render(scene) for scene in draw_scenes(20, 5)])
    with torch.inference_mode():
        latents = model.model.process_latent_in(vae.encode(images.movedim(1, -1)))
    latent_format = model.model.latent_format
    factors, bias = torch.tensor(latent_format.latent_rgb_factors), torch.tensor(latent_format.latent_rgb_factors_bias)
    preview = torch.einsum("bchw,cd->bdhw", latents.float(), factors) + bias.view(1, 3, 1, 1)
    small = torch.nn.functional.avg_pool2d(images, 8) * 2 - 1
    both = torch.stack([preview.flatten(), small.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.8


def test_a_missing_or_damaged_file_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"unet\.safetensors is missing"):
        weights.read("unet")
    (tmp_path / "unet.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(RuntimeError, match="damaged"):
        weights.read("unet")


def test_judge_accuracy_counts_images_and_attributes(held_out_scenes) -> None:
    from sgool.demo.training.data import Scenes, as_bytes

    scenes, images = held_out_scenes
    measured = accuracy(loader.load_judge(), Scenes(scenes, as_bytes(images)))
    assert measured["caption"] >= measured["every attribute"] >= 0.95


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_is_the_one_of_scikit_image(name: str) -> None:
    image = photograph(name)
    original = torch.from_numpy({"astronaut": data.astronaut, "cat": data.chelsea, "coffee": data.coffee}[name]())
    expected = original.movedim(-1, 0)[None].float() / 255
    assert image.shape == expected.shape
    assert (image - expected).abs().mean() < 0.015  # JPEG's loss


def test_there_is_no_other_photograph() -> None:
    with pytest.raises(ValueError, match="there are astronaut, cat, coffee"):
        photograph("no such photograph")
