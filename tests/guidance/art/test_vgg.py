"""VGG's maps against torchvision's own layers of the same weights, and textures by them against finite differences."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from sgool.guidance.art.charts import draw_texture
from sgool.guidance.art.learned_texture import LearnedTexture
from sgool.guidance.art.vgg import NETWORKS, VGG, vgg
from sgool.guidance.art.view import ViewObjective
from sgool.guidance.objective import Context
from sgool.schema.weights import WeightsError
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from .images import noise
from .test_texture import strokes

# What torchvision calls the table's columns, and where the five layers are in its ``features``.
PUBLISHED = {"vgg16": ("D", (1, 6, 11, 18, 25)), "vgg19": ("E", (1, 6, 11, 20, 29))}


@cache
def published(name: str) -> nn.Sequential:
    """torchvision's layers, with weights from a seed that keep the size of what passes (He et al. 2015)."""
    torch.manual_seed(0)
    layers = make_layers(cfgs[PUBLISHED[name][0]], batch_norm=False)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.normal_(layer.bias, std=0.1)
    return layers.requires_grad_(False)


def state(name: str) -> dict[str, Tensor]:
    """As in torchvision's file: with a classifier, of which a corner is enough here."""
    return {**{f"features.{key}": value for key, value in published(name).state_dict().items()}, "classifier.0.weight": torch.zeros(2, 2)}


def scored(images: Tensor, of: ViewObjective) -> list[float]:
    return of(images, Context()).losses.tolist()


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_those_of_torchvision(name: str) -> None:
    images = noise(2, 33, 48).float()
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x, expected = (images - mean) / std, []
    for index, layer in enumerate(published(name)):
        x = layer(x).clone()
        if index in PUBLISHED[name][1]:
            expected.append(x.relu())
    found = vgg(name, state(name))(images)
    assert [each.shape[1] for each in found] == [64, 128, 256, 512, 512]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_gradient_is_that_of_finite_differences() -> None:
    model = vgg("vgg16", state("vgg16")).double()
    mask = torch.rand(1, 1, 18, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    of = ViewObjective("texture", LearnedTexture(model, noise(1, 16, 20), 1.0, 2.0, plain=True), mask, draw_texture, 256)
    images = noise(2, 18, 16, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: of(x, Context()).losses, (images,), fast_mode=True, eps=1e-7, atol=1e-4)


def test_a_texture_is_nearest_to_itself_over_the_whole_image() -> None:
    wide = torch.cat([strokes(30, width=0.1)] * 2, -1).float()
    of = ViewObjective("texture", LearnedTexture(vgg("vgg19", state("vgg19")), wide, plain=True), None, draw_texture, 256)
    # The middle square of the last is the reference's; its sides are not.
    beside = wide.clone()
    beside[..., :60], beside[..., -60:] = 0.5, 0.5
    same, across, half = scored(torch.cat([wide, wide.flip(-1), beside]), of)
    assert same < 1e-6
    assert min(across, half) > 1e-3


def test_gray_images_and_references_give_numbers() -> None:
    images = torch.full((1, 3, 16, 16), 0.5).requires_grad_()
    of = ViewObjective("texture", LearnedTexture(vgg("vgg16", state("vgg16")), images.detach(), plain=True), None, draw_texture, 256)
    (gradient,) = torch.autograd.grad(of(images, Context()).losses.sum(), images)
    assert bool(torch.isfinite(gradient).all())


def test_only_what_is_needed_is_kept() -> None:
    assert len(vgg("vgg19", state("vgg19")).state_dict()) == 2 * 13
    assert len(VGG("vgg19").state_dict()) == 2 * 16


@pytest.mark.parametrize(("name", "other"), [("vgg16", "vgg19"), ("vgg19", "vgg16")])
def test_another_networks_file_is_named(name: str, other: str) -> None:
    with pytest.raises(WeightsError, match=NETWORKS[name].file):
        vgg(name, state(other))
    cut = {key: value for key, value in state(name).items() if key != "features.5.bias"}
    with pytest.raises(WeightsError, match=r"1 of its \d\d weights are missing .first 'features.5.bias'"):
        vgg(name, cut)
