"""Attention maps of DINOv2 and CLIP, on small models of the transformers library with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sgool.harness.derivatives import along_a_direction
from sgool.harness.seeded_weights import seeded_images
from sgool.saliency_models import registry
from sgool.saliency_models.attention import AttentionSaliency, rollout
from sgool.schema.weights import WeightsError
from torch import Tensor

SMALL: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2}
NAMES = ("clip-attention", "clip-rollout", "dinov2-attention", "dinov2-rollout")


def make_model(family: str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if family == "clip":
            config = transformers.CLIPVisionConfig(**SMALL, intermediate_size=256, image_size=32, patch_size=8)
            model: Any = transformers.CLIPVisionModel(config)
        elif family == "registers":
            model = transformers.Dinov2WithRegistersModel(
                transformers.Dinov2WithRegistersConfig(**SMALL, image_size=56, patch_size=14, num_register_tokens=4)
            )
        else:
            model = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, image_size=56, patch_size=14))
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for family in ("clip", "dinov2", "registers"):
        found[family] = tmp_path_factory.mktemp(family)
        make_model(family).save_pretrained(found[family])
        settings = {"crop_size": {"height": 32, "width": 32}} if family == "clip" else {"crop_size": {"height": 56, "width": 56}}
        (found[family] / "preprocessor_config.json").write_text(json.dumps(settings))
    return found


def load(name: str, folders: dict[str, Path], **options: Any) -> AttentionSaliency:
    model = registry.load(name, folders[name.split("-", maxsplit=1)[0]], **options)
    assert isinstance(model, AttentionSaliency)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_maps(name: str, folders: dict[str, Path]) -> None:
    model = load(name, folders)
    assert model.kind == "attention"
    images = seeded_images(2, 50, 81)
    with torch.no_grad():
        maps = model(images)
        singles = torch.cat([model(image[None]) for image in images])
        tiny = model(torch.zeros(1, 3, 1, 1))
    assert maps.shape == (2, 1, 50, 81)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert maps.std() > 0.01
    assert torch.isfinite(tiny).all()
    torch.testing.assert_close(maps, singles, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["clip", "dinov2", "registers"])
def test_last_block_by_hand(family: str, folders: dict[str, Path]) -> None:
    """The class token's row of softmax(Q K / sqrt(d)), from the projections' outputs, registers left out."""
    model = registry.load(f"{'clip' if family == 'clip' else 'dinov2'}-attention", folders[family])
    assert isinstance(model, AttentionSaliency)
    assert model.prefix == (5 if family == "registers" else 1)
    outputs: dict[str, Tensor] = {}
    endings = {"query": ("q_proj", "attention.query"), "key": ("k_proj", "attention.key")}
    hooks = []
    for role, names in endings.items():
        last = [module for name, module in model.vision.named_modules() if name.endswith(names)][-1]
        hooks.append(last.register_forward_hook(lambda _module, _inputs, output, role=role: outputs.update({role: output})))
    size = 32 if family == "clip" else 56
    with torch.no_grad():
        maps = model.predict(seeded_images(1, size, size))
    for hook in hooks:
        hook.remove()
    query, key = (outputs[role].unflatten(-1, (2, 64)).transpose(1, 2) for role in ("query", "key"))
    row = torch.softmax(query[:, :, :1] @ key.mT / 8, dim=-1).mean(1)[0, 0, model.prefix :].reshape(1, 1, 4, 4)
    torch.testing.assert_close(maps, (row - row.min()) / (row.max() - row.min()), rtol=0, atol=1e-5)


def test_rollout_is_the_product_of_matrices() -> None:
    attentions = [torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(i)).softmax(-1) for i in range(3)]
    product = torch.eye(7)
    for attention in attentions:
        product = (attention + torch.eye(7)) / 2 @ product
    torch.testing.assert_close(rollout(attentions), product[:, 0])


@pytest.mark.parametrize("name", ["clip-attention", "dinov2-attention"])
def test_a_file_alone_is_recognized_and_gives_the_same(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    family = name.split("-", maxsplit=1)[0]
    state = load_file(folders[family] / "model.safetensors")
    if family == "clip":  # as the published files and ComfyUI's models/clip_vision name them
        state = {f"vision_model.{key.removeprefix('vision_model.')}": value for key, value in state.items()}
    extra = {"text_model.final_layer_norm.weight": torch.ones(4), "logit_scale": torch.ones(())} if family == "clip" else {}
    save_file({**state, **extra}, tmp_path / "file.safetensors")
    state = load_file(tmp_path / "file.safetensors")
    entry = registry.recognize(state)
    assert entry is not None
    assert entry.name == name
    images = seeded_images(1, 56, 56)
    with torch.no_grad():
        alone = registry.load(name, state, input_size=(56, 56))(images)
        whole = load(name, folders, input_size=(56, 56))(images)
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-6)


def test_input_size_follows_the_image_or_the_user(folders: dict[str, Path]) -> None:
    model = load("clip-attention", folders)
    assert model._grid(64, 64) == (4, 4)
    assert model._grid(40, 160) == (2, 8)
    assert model._grid(1, 5000) == (1, 16)
    assert load("clip-attention", folders, input_size=(64, 100))._grid(10, 10) == (8, 12)
    with pytest.raises(ValueError, match="at least 1 each"):
        load("clip-attention", folders, input_size=(0, 3))


def test_half_precision(folders: dict[str, Path]) -> None:
    model = load("dinov2-attention", folders)
    images = seeded_images(1, 56, 56)
    with torch.no_grad():
        exact = model(images)
        half = model.to(torch.bfloat16)(images)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_gradient_in_the_pixels(name: str, folders: dict[str, Path]) -> None:
    model = load(name, folders).double()
    # transformers' CLIP takes its softmax in float32 whatever its dtype.
    step, tolerance = (1e-3, 1e-2) if name.startswith("clip") else (1e-6, 1e-5)
    gradient, along, change = along_a_direction(model, seeded_images(1, 40, 40).double(), step=step)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).double().mean() > 0.9
    torch.testing.assert_close(along, change, rtol=tolerance, atol=0)


def test_wrong_folders(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"is not a transformers model: it has no config.json"):
        registry.load("dinov2-attention", tmp_path)
    with pytest.raises(WeightsError, match=r"holds a model of the type 'clip_vision_model'; 'dinov2-attention' reads dinov2 models"):
        registry.load("dinov2-attention", folders["clip"])
    (tmp_path / "config.json").write_bytes((folders["dinov2"] / "config.json").read_bytes())
    with pytest.raises(WeightsError, match="cannot be read"):
        registry.load("dinov2-attention", tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folders["dinov2"] / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read"):
        registry.load("dinov2-attention", tmp_path)
    state = load_file(folders["dinov2"] / "model.safetensors")
    del state["encoder.layer.2.norm1.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"not the weights of 'dinov2-attention': 1 are missing"):
        registry.load("dinov2-attention", tmp_path)
    with pytest.raises(WeightsError, match="not the weights of a clip vision transformer"):
        registry.load("clip-attention", state)
