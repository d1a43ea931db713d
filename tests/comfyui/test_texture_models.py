"""The Texture node by a VGG: its file is found, or a sentence says where it is to be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from safetensors.torch import save_file
from sgool.comfy_bridge import texture_models
from sgool.comfy_bridge.texture_models import texture_features
from sgool.guidance.art.vgg import vgg
from sgool.guidance.objective import Context
from sgool.nodes import art

from ..guidance.art.test_vgg import state
from .clip_pairs import tiny_clip_vision

pytestmark = pytest.mark.comfyui

RULE = {"rule": "reference", "subject_weight": 1.0, "ground_weight": 1.0, "features": "vgg16"}
PUBLISHED = "vgg16-397923af.pth"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``models/texture``, and an empty folder of torchvision's."""
    known = folder_paths.folder_names_and_paths["texture"][1]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "texture", ([str(tmp_path / "texture")], known))
    monkeypatch.setattr(texture_models, "register_texture", lambda: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    texture_models._kept.cache_clear()
    for each in ("texture", "hub/checkpoints"):
        (tmp_path / each).mkdir(parents=True)
    return tmp_path / "texture"


def images(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def node(**inputs: Any) -> Any:
    return art.TextureNode.execute(**{"rule": RULE, "reference": images(1, 40, 50, 3), **inputs}).result[0]


def test_a_reference_by_vgg_has_a_gradient_also_in_a_node_of_inference_mode(folder: Path) -> None:
    torch.save(state("vgg16"), folder / PUBLISHED)
    with torch.inference_mode():
        objective = node()
    # As the library does with the same weights, by torch's own layers.
    plain = vgg("vgg16", state("vgg16"))
    expected = art.LearnedTexture(plain, images(1, 40, 50, 3).movedim(-1, 1), plain=True)
    given = images(2, 3, 32, 48, seed=1).requires_grad_()
    losses = objective(given, Context()).losses
    torch.testing.assert_close(losses, expected(objective.view(given, Context())), rtol=1e-4, atol=1e-6)
    (gradient,) = torch.autograd.grad(losses.sum(), given)
    assert bool(torch.isfinite(gradient).all())
    assert gradient.abs().sum() > 0


def test_large_references_and_images_are_seen_at_one_size(folder: Path) -> None:
    torch.save(state("vgg16"), folder / PUBLISHED)
    maps = texture_features("vgg16")(images(1, 3, 200, 512))
    assert [tuple(each.shape[-2:]) for each in maps] == [(100, 256), (50, 128), (25, 64), (12, 32), (6, 16)]
    assert texture_features("vgg16")(images(1, 3, 3, 300))[-1].shape[-2:] == (1, 16)


@pytest.mark.parametrize("name", ["VGG16.safetensors", "sub/vgg16-397923af.safetensors", "../hub/checkpoints/vgg16-397923af.pth"])
def test_other_names_and_torchvisions_own_folder_are_found(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    save_file(state("vgg16"), path) if path.suffix == ".safetensors" else torch.save(state("vgg16"), path)
    assert texture_features("vgg16") is texture_features("vgg16")
    node()


def test_without_its_file_a_sentence_says_where_it_is(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"vgg16-397923af.pth \(553 MB; .*BSD-3-Clause.*https://download.*random filters") as error:
        node()
    assert str(folder) in str(error.value)


def test_a_damaged_or_wrong_file_gives_a_sentence(folder: Path) -> None:
    path = folder / PUBLISHED
    torch.save(state("vgg16"), path)
    path.write_bytes(path.read_bytes()[:100000])
    with pytest.raises(ValueError, match="truncated or damaged"):
        node()
    torch.save(state("vgg19"), path)
    with pytest.raises(ValueError, match=r"not the weights of .vgg16.*vgg16-397923af"):
        node()


def test_a_network_and_an_encoder_at_once_are_too_many(folder: Path) -> None:
    with pytest.raises(ValueError, match="disconnect clip_vision"):
        node(clip_vision=tiny_clip_vision())
