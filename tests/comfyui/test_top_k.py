"""The best images of an SGOOL KSampler's run, beside what core's KSampler makes of their noises."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import comfy.nested_tensor
import comfy.sample
import comfy.utils
import pytest
import torch
from sgool.guidance.objective import Context
from sgool.latent_optimization.presets import PRESETS
from sgool.nodes.sampling import SGOOLKSamplerNode

import nodes

from .objectives import Red
from .tiny_models import MODEL_TYPES, conditioning, tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    with torch.inference_mode():
        return {kind: tiny_model(kind) for kind in MODEL_TYPES}


@pytest.fixture(scope="module")
def vae() -> Any:
    with torch.inference_mode():
        return tiny_vae()


def run(model: Any, vae: Any, top_k: int | None, images: int = 1, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"model": model, "seed": 5, "steps": 3, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"}
    given |= {"positive": conditioning(1), "negative": conditioning(2), "denoise": 1.0, "objective": Red(), "vae": vae}
    given |= {"latent_image": {"samples": torch.zeros(images, 4, 8, 8)}, "preset": {"preset": "search first", "iterations": 2}}
    given |= {} if top_k is None else {"top_k": top_k}
    names = [output.display_name for output in SGOOLKSamplerNode.define_schema().outputs]
    return dict(zip(names, SGOOLKSamplerNode.execute(**given | changes).result, strict=True))


def table(history: str) -> list[list[str]]:
    """Of each line of the tables of the best: what made it, and its score."""
    lines = [line.split() for line in history.splitlines() if line.startswith("* ")]
    return [[" ".join(line[2:-1]), line[-1]] for line in lines]


@pytest.mark.parametrize("kind", list(MODEL_TYPES))
def test_each_is_what_a_ksampler_makes_of_its_noise(kind: str, models: dict[str, Any], vae: Any) -> None:
    found = run(models[kind], vae, 5)
    samples, noises, scores = found["LATENT"]["samples"], found["noise"]["samples"], found["scores"]
    assert len(samples) == len(noises) == len(scores) == 5
    for place, noise in enumerate(noises.split(1)):
        theirs = comfy.sample.sample(
            models[kind], noise, 3, 4.0, "euler", "normal", conditioning(1), conditioning(2), torch.zeros(1, 4, 8, 8), seed=5
        )
        assert torch.allclose(theirs, samples[place : place + 1], atol=1e-4)
        (decoded,) = nodes.VAEDecode().decode(vae, {"samples": samples[place : place + 1]})
        assert scores[place] == pytest.approx(-float(Red()(decoded.movedim(-1, 1), Context()).losses[0]), abs=1e-5)
    assert scores[1:] == sorted(scores[1:], reverse=True)
    assert [score for _, score in table(found["history"])] == [f"{score:.4f}" for score in scores]
    assert found["contact_sheet"].shape[0] == 1


def test_with_one_everything_is_as_without(models: dict[str, Any], vae: Any) -> None:
    without, one = run(models["eps"], vae, None), run(models["eps"], vae, 1)
    for name in ("LATENT", "noise"):
        assert torch.equal(without[name]["samples"], one[name]["samples"])
        assert set(without[name]) == set(one[name])
    assert torch.equal(without["plot"], one["plot"])
    assert without["history"] == one["history"]
    assert all(math.isnan(score) for score in one["scores"])


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_first_of_several_is_the_one_of_one(preset: str, models: dict[str, Any], vae: Any) -> None:
    settings = PRESETS[preset].with_iterations(1)
    if settings.procedure is not None:
        settings = replace(settings, procedure=replace(settings.procedure, steps=3, cutouts=2))
    one, several = run(models["flow"], vae, 1, images=2, settings=settings), run(models["flow"], vae, 2, images=2, settings=settings)
    assert torch.equal(several["LATENT"]["samples"][::2], one["LATENT"]["samples"])
    assert torch.equal(several["noise"]["samples"][::2], one["noise"]["samples"])
    assert not torch.equal(several["LATENT"]["samples"][1], several["LATENT"]["samples"][0])


def test_of_a_batch_each_image_has_its_own_with_its_mask(models: dict[str, Any], vae: Any) -> None:
    mask = torch.stack([torch.full((1, 64, 64), level) for level in (0.25, 0.75)])
    source = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latent_image = {"samples": source, "noise_mask": mask, "batch_index": [4, 7]}
    found = run(models["eps"], vae, 3, latent_image=latent_image)
    assert len(found["LATENT"]["samples"]) == 6
    assert found["LATENT"]["noise_mask"].amax((1, 2, 3)).tolist() == [0.25] * 3 + [0.75] * 3
    assert "batch_index" not in found["LATENT"]
    assert "noise_mask" not in found["noise"]
    for place in (0, 1):  # latents far from each other: which image of the batch each is of can be seen
        ours = found["LATENT"]["samples"][3 * place : 3 * place + 3]
        distances = [[float((each - other).square().mean()) for other in source] for each in ours]
        assert all(own[place] < own[1 - place] for own in distances)
    assert "Image 2" in found["history"]


def test_where_fewer_are_made_it_is_said(models: dict[str, Any], vae: Any) -> None:
    found = run(models["eps"], vae, 9, preset={"preset": "balanced", "iterations": 2})
    assert {made for made, _ in table(found["history"])} == {f"iteration {number}" for number in range(3)}
    assert "9 were to be kept, and only 3 were made" in found["history"]


def test_without_optimizing_there_is_one(models: dict[str, Any], vae: Any) -> None:
    for changes in ({"preset": {"preset": "balanced", "iterations": 0}}, {"objective": None}, {"denoise": 0.0}):
        found = run(models["eps"], vae, 3, **changes)
        assert len(found["LATENT"]["samples"]) == 1
        assert all(math.isnan(score) for score in found["scores"])


def test_a_latent_of_several_parts_is_refused(models: dict[str, Any], vae: Any) -> None:
    nested = comfy.nested_tensor.NestedTensor([torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8)])
    with pytest.raises(ValueError, match="several parts"):
        run(models["eps"], vae, 2, latent_image={"samples": nested})
