"""HPS v2 from open_clip's file: against open_clip's CLIP written anew on torch's own attention, and its program's preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from sgool.rewards import registry
from sgool.rewards.encoders import TransformersEncoder
from sgool.rewards.hps import clip_of, load_hps
from sgool.rewards.preprocessing import OPENAI_MEAN, OPENAI_STD, Preprocessing
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from .open_clip import SIDE, VISION, OpenCLIP
from .saved_models import save_tokenizer

PROMPTS = ["a red circle", "blue square left of the cat"]


def padded(images: Tensor, side: int) -> Tensor:
    """HPSv2's ``ResizeMaxSize`` on tensors, and its normalization, by torchvision."""
    height, width = images.shape[-2:]
    scale = side / float(max(height, width))
    size = [round(height * scale), round(width * scale)]
    down, across = side - size[0], side - size[1]
    images = tv.resize(images, size, InterpolationMode.BICUBIC, antialias=True) if scale != 1 else images
    images = tv.pad(images, [across // 2, down // 2, across - across // 2, down - down // 2])
    return tv.normalize(images, list(OPENAI_MEAN), list(OPENAI_STD))


@pytest.fixture(scope="module")
def original() -> OpenCLIP:
    torch.manual_seed(0)
    return OpenCLIP().eval()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=["HPS.pt", "HPS.safetensors"])
def saved(request: pytest.FixtureRequest, original: OpenCLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hps") / request.param
    state = {name: value.clone() for name, value in original.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path


@pytest.mark.parametrize("size", [(28, 28), (40, 25), (13, 60)])
def test_the_score_is_the_cosine_of_open_clips_vectors(original: OpenCLIP, saved: Path, tokenizer: Path, size: tuple[int, int]) -> None:
    assert registry.recognize(saved) == "HPS v2"
    with torch.inference_mode():  # as ComfyUI's nodes ask
        reward = registry.load(saved, tokenizers={"clip": tokenizer})
    assert isinstance(reward, TransformersEncoder)
    assert (reward.name, reward.image_size) == ("HPS", SIDE)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 0.2])[:, None, None, None]
    with torch.no_grad():
        image = nn.functional.normalize(original.visual(padded(images, SIDE)), dim=-1)
        texts = [original.text(reward.tokenizer(prompt, return_tensors="pt")["input_ids"]) for prompt in PROMPTS]
        text = nn.functional.normalize(torch.cat(texts), dim=-1)
        torch.testing.assert_close(reward.encode_image(images), image, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(reward.encode_text(PROMPTS), text, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(reward(images, PROMPTS), (image * text).sum(-1), atol=1e-5, rtol=1e-5)
    assert abs(float((image[0] * image[1]).sum())) < 0.999  # vectors that are all alike would prove nothing


def test_the_gradient_is_open_clips_too(original: OpenCLIP, saved: Path, tokenizer: Path) -> None:
    reward = load_hps(saved, torch.float64, tokenizer=tokenizer)
    images = torch.rand(2, 3, 40, 25, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    (found,) = torch.autograd.grad(reward(images, PROMPTS).sum(), images)
    vectors = nn.functional.normalize(original.float().visual(padded(images.float(), SIDE)), dim=-1)
    (expected,) = torch.autograd.grad((vectors * reward.encode_text(PROMPTS).float()).sum(), images)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        inside = 0.1 + 0.8 * images  # away from the clamp
        ahead, behind = (reward(inside + sign * 1e-5 * direction, PROMPTS).sum() for sign in (1, -1))
    inside.requires_grad_()
    (slope,) = torch.autograd.grad(reward(inside, PROMPTS).sum(), inside)
    torch.testing.assert_close((ahead - behind) / 2e-5, (slope * direction).sum(), rtol=1e-5, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_any_image_is_resized_by_its_longest_side_and_padded(height: int, width: int) -> None:
    if round(32 / max(height, width) * min(height, width)) < 1:
        return  # theirs asks for a side of 0 pixels and fails
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    ours = Preprocessing("longest", (32, 32), (32, 32), program="open_clip")(images)
    torch.testing.assert_close(ours, padded(images, 32), atol=2e-5, rtol=1e-5)


def test_a_sliver_is_one_pixel_wide() -> None:
    values = Preprocessing("longest", (32, 32), (32, 32), mean=(0.0,) * 3, std=(1.0,) * 3, program="open_clip")(torch.ones(1, 3, 900, 2))
    torch.testing.assert_close(values.sum((2, 3)), torch.full((1, 3), 32.0))


def published() -> dict[str, Tensor]:
    """Names and shapes of HPS_v2.1_compressed.pt, a ViT-H/14 of open_clip; each tensor is one zero that is repeated."""
    zero = torch.zeros(())
    shapes: dict[str, tuple[int, ...]] = {"logit_scale": (), "token_embedding.weight": (49408, 1024), "positional_embedding": (77, 1024)}
    shapes |= {"text_projection": (1024, 1024), "visual.proj": (1280, 1024), "visual.class_embedding": (1280,)}
    shapes |= {"visual.positional_embedding": (257, 1280), "visual.conv1.weight": (1280, 3, 14, 14)}
    norms = {"ln_final": 1024, "visual.ln_pre": 1280, "visual.ln_post": 1280}
    for prefix, width, layers in (("transformer.", 1024, 24), ("visual.transformer.", 1280, 32)):
        for layer in (f"{prefix}resblocks.{number}." for number in range(layers)):
            norms |= {f"{layer}ln_1": width, f"{layer}ln_2": width}
            shapes |= {f"{layer}attn.in_proj_weight": (3 * width, width), f"{layer}attn.in_proj_bias": (3 * width,)}
            sizes = {"attn.out_proj": (width, width), "mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width)}
            for module, shape in sizes.items():
                shapes |= {f"{layer}{module}.weight": shape, f"{layer}{module}.bias": shape[:1]}
    shapes |= {f"{norm}.{kind}": (width,) for norm, width in norms.items() for kind in ("weight", "bias")}
    return {name: zero.expand(shape) for name, shape in shapes.items()}


def test_the_published_file_has_a_place_for_every_weight(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "state_dict": published()}, tmp_path / "HPS_v2.1_compressed.pt")
    assert registry.recognize(tmp_path / "HPS_v2.1_compressed.pt") == "HPS v2"
    model: Any = clip_of(published(), 49407, "HPS_v2.1_compressed.pt")
    assert sum(weight.numel() for weight in model.parameters()) == 986_109_441  # 986.11 million in open_clip's docs/model_profile.csv
    vision, text = model.config.vision_config, model.config.text_config
    assert (vision.image_size, vision.patch_size, vision.num_attention_heads, vision.num_hidden_layers) == (224, 14, 16, 32)
    assert (text.num_attention_heads, text.num_hidden_layers, text.max_position_embeddings) == (16, 24, 77)


def changed(state: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    if how == "a tower of another width":
        return {**state, "visual.conv1.weight": torch.zeros(1024, 3, 14, 14)}
    if how == "a weight of another shape":
        return {**state, "visual.proj": torch.zeros(VISION, 99)}
    if how == "a layer that is missing":
        return {name: value for name, value in state.items() if "resblocks.0.ln_1" not in name}
    return {**state, "visual.attnpool.q_proj.weight": torch.zeros(2)}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("a tower of another width", r"towers of 1024 \(images\) and 128 channels \(text\)\. HPS v2 is a ViT-H/14, of 1280 and 1024"),
        ("a weight of another shape", r"not a whole CLIP ViT-H/14 .*visual_projection\.weight': \(99, 160\) instead of \(24, 160\)"),
        ("a layer that is missing", r"not a whole CLIP ViT-H/14 .*layer_norm1"),
        ("a weight too many", r"not a whole CLIP ViT-H/14 .*unknown to it \(first 'visual\.attnpool"),
    ],
)
def test_another_model_is_refused_with_what_differs(original: OpenCLIP, tokenizer: Path, tmp_path: Path, how: str, words: str) -> None:
    torch.save(changed(original.state_dict(), how), tmp_path / "other.pt")
    assert registry.recognize(tmp_path / "other.pt") == "HPS v2"
    with pytest.raises(ValueError, match=words):
        registry.load(tmp_path / "other.pt", tokenizers={"clip": tokenizer})


def test_foreign_and_damaged_files_are_refused(saved: Path, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"comes without its tokenizer"):
        registry.load(saved)
    with pytest.raises(ValueError, match=r"has no tokenizer"):
        load_hps(saved, tokenizer=tmp_path)
    cut = tmp_path / saved.name
    cut.write_bytes(saved.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"truncated|not a whole safetensors file"):
        registry.load(cut, tokenizers={"clip": tokenizer})
    torch.save({"layers.0.weight": torch.zeros(2, 2)}, tmp_path / "foreign.pt")
    assert registry.recognize(tmp_path / "foreign.pt") is None
    with pytest.raises(ValueError, match=r"foreign\.pt is no CLIP that open_clip saved"):
        load_hps(tmp_path / "foreign.pt", tokenizer=tokenizer)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_code_in_a_file_is_not_run(original: OpenCLIP, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {**original.state_dict(), "more": Trap()}}, tmp_path / "trap.pt")
    with pytest.raises(ValueError, match="could run code"):
        registry.load(tmp_path / "trap.pt", tokenizers={"clip": tokenizer})
    assert capsys.readouterr().out == ""
