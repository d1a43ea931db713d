"""SGOOL Best of N beside core's KSampler and SamplerCustomAdvanced: each image kept is what they make of its seed."""

from __future__ import annotations

import math
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from sgool.comfy_bridge import progress
from sgool.comfy_bridge.best_of_n import OPTIMIZES
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.demo.loader import load_vae as demo_vae
from sgool.guidance.augmentations import Augmentations
from sgool.guidance.objective import Context, Scored
from sgool.latent_optimization.presets import PRESETS
from sgool.nodes.best_of import BestOfN, BestOfNAdvanced

import nodes

from .objectives import Red
from .tiny_models import conditioning, tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore")]
STEPS = 8


@pytest.fixture(scope="module")
def model() -> Any:
    with torch.inference_mode():
        return tiny_model()


@pytest.fixture(scope="module")
def vae() -> Any:
    with torch.inference_mode():
        return tiny_vae()


def ksampler(model: Any, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"model": model, "steps": STEPS, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
    given |= {"positive": conditioning(1), "negative": conditioning(2), "denoise": 1.0}
    return given | {"latent_image": {"samples": torch.zeros(1, 4, 8, 8)}} | changes


def best(model: Any, vae: Any, *, seed: int = 5, objective: Any = None, **changes: Any) -> tuple[Any, ...]:
    options = {"seeds": 6, "keep": 2, "halving": False} | {key: changes.pop(key) for key in ("seeds", "keep", "halving") if key in changes}
    return tuple(BestOfN.execute(**ksampler(model, **changes), seed=seed, objective=objective or Red(), vae=vae, **options).result)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry for each call of the model; outside of it, where nothing takes a counter for the model's own memory."""
    made: list[int] = []
    ask = comfy.samplers.calc_cond_batch

    def counted(*arguments: Any) -> Any:
        made.append(1)
        return ask(*arguments)

    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", counted)
    return made


@pytest.mark.parametrize("halving", [False, True])
@pytest.mark.parametrize("sampler_name", ["euler", "euler_ancestral", "dpmpp_3m_sde", "heun", "uni_pc"])
def test_each_kept_image_is_what_a_ksampler_makes_of_its_seed(model: Any, vae: Any, sampler_name: str, halving: bool) -> None:
    latent, images, sheet, scores, seeds, _ = best(model, vae, sampler_name=sampler_name, halving=halving)
    assert len(latent["samples"]) == len(images) == len(scores) == len(seeds) == 2
    for place, seed in enumerate(seeds):
        (theirs,) = nodes.KSampler().sample(**ksampler(model, sampler_name=sampler_name), seed=seed)
        assert torch.equal(theirs["samples"], latent["samples"][place : place + 1])
        (decoded,) = nodes.VAEDecode().decode(vae, theirs)
        assert torch.equal(decoded[0], images[place])
    assert scores == sorted(scores, reverse=True)
    assert sheet.shape[0] == 1


@pytest.mark.parametrize(
    ("latent", "sentence"),
    [
        (torch.ones(1, 16, 8, 8), "The latent has 16 channels, but this model's latents have 4"),
        (torch.zeros(1, 4, 2, 8, 8), "The latent is a video's, of the shape .1, 4, 2, 8, 8., but this model makes images"),
    ],
)
def test_a_latent_of_another_model_is_refused(model: Any, vae: Any, latent: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        best(model, vae, latent_image={"samples": latent})


def test_a_vae_of_another_model_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="This VAE is for latents of 16 channels, the model's have 4"):
        best(model, demo_vae())


def test_the_best_are_the_best_of_all_seeds(model: Any, vae: Any) -> None:
    *_, scores, seeds, table = best(model, vae, keep=3)
    alone = {}
    for seed in range(5, 11):
        (latent,) = nodes.KSampler().sample(**ksampler(model), seed=seed)
        (images,) = nodes.VAEDecode().decode(vae, latent)
        alone[seed] = -float(Red()(images.movedim(-1, 1), Context()).losses[0])
    expected = sorted(alone, key=lambda seed: -alone[seed])[:3]
    assert seeds == expected
    assert scores == pytest.approx([alone[seed] for seed in expected], abs=1e-6)
    assert all(str(seed) in table for seed in alone)


def test_halving_costs_half(model: Any, vae: Any, calls: list[int]) -> None:
    best(model, vae, seeds=8)
    assert len(calls) == 64
    calls.clear()
    *_, table = best(model, vae, seeds=8, halving=True)
    assert len(calls) == 32  # 8 seeds for 2 steps, 4 for 2 more, 2 for the last 4
    assert "32 sampling steps instead of 64" in table
    assert table.count("dropped after step 2") == 4
    assert table.count("dropped after step 4") == 2


def test_without_halving_nothing_is_said_to_be_saved(model: Any, vae: Any) -> None:
    *_, table = best(model, vae, seeds=2, keep=1, sampler_name="dpm_fast")  # tells of fewer steps than the schedule has
    assert "sampling steps." in table


def test_a_batch_makes_as_many_candidates_a_seed(model: Any, vae: Any) -> None:
    latent_image = {"samples": torch.zeros(3, 4, 8, 8)}
    latent, _, _, _, seeds, table = best(model, vae, seeds=2, keep=6, latent_image=latent_image)
    assert sorted(seeds) == [5, 5, 5, 6, 6, 6]
    for seed in (5, 6):
        (theirs,) = nodes.KSampler().sample(**ksampler(model, latent_image=latent_image), seed=seed)
        for each in theirs["samples"]:
            assert any(torch.equal(each, kept) for kept in latent["samples"])
    assert "image" in table.splitlines()[0]


def test_masks_follow_their_images(model: Any, vae: Any) -> None:
    mask = torch.stack([torch.full((1, 64, 64), level) for level in (0.25, 0.75)])
    source = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latent, *_, table = best(model, vae, seeds=3, keep=4, latent_image={"samples": source, "noise_mask": mask, "batch_index": [4, 7]})
    places = [int(line.split()[3]) for line in table.splitlines() if line.startswith("*  ")]
    assert latent["noise_mask"].amax((1, 2, 3)).tolist() == [0.25 if place == 1 else 0.75 for place in places]
    assert "batch_index" not in latent


@pytest.mark.parametrize("halving", [False, True])
def test_with_a_guider_it_is_samplercustomadvanced(model: Any, vae: Any, halving: bool) -> None:
    (guider,) = custom.CFGGuider.execute(model, conditioning(1), conditioning(2), 3.0).result
    (sampler,) = custom.KSamplerSelect.execute("dpmpp_sde").result
    (sigmas,) = custom.BasicScheduler.execute(model, "karras", 6, 1.0).result
    latent_image = {"samples": torch.zeros(1, 4, 8, 8)}
    shared = {"guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent_image}
    (noise,) = custom.RandomNoise.execute(40).result
    options = {"objective": Red(), "vae": vae, "seeds": 4, "keep": 2, "halving": halving}
    latent, *_, seeds, _ = BestOfNAdvanced.execute(noise=noise, **shared, **options).result
    for place, seed in enumerate(seeds):
        (again,) = custom.RandomNoise.execute(seed).result
        theirs = custom.SamplerCustomAdvanced.execute(noise=again, **shared).result[0]
        assert torch.equal(theirs["samples"], latent["samples"][place : place + 1])


def test_seeds_wrap_around(model: Any, vae: Any) -> None:
    *_, seeds, _ = best(model, vae, seed=2**64 - 1, seeds=2)
    assert sorted(seeds) == [0, 2**64 - 1]


class Flaky(Red):
    """No number for some images."""

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Flaky:
        return self

    def __call__(self, images: torch.Tensor, context: Context) -> Scored:
        scored = super().__call__(images, context)
        return Scored(scored.losses * (math.nan if self.calls % 2 else 1.0))


def test_images_without_a_score_come_last_and_are_said(model: Any, vae: Any) -> None:
    *_, scores, _, table = best(model, vae, keep=6, objective=Flaky())
    assert [math.isnan(score) for score in scores] == [False] * 3 + [True] * 3
    assert "3 of 6 images have no finite score" in table


def test_a_model_that_remembers_is_not_left_off(model: Any, vae: Any) -> None:
    from comfy_extras.nodes_easycache import EasyCacheNode

    (cached,) = EasyCacheNode.execute(model, 0.5, 0.1, 0.9, False).result
    latent, *_, seeds, table = best(cached, vae, halving=True)
    assert "every seed was sampled to its end" in table
    assert f"{2 + 6 * STEPS} sampling steps" in table  # the two by which it was noticed are counted too
    for place, seed in enumerate(seeds):
        (theirs,) = nodes.KSampler().sample(**ksampler(cached), seed=seed)
        assert torch.equal(theirs["samples"], latent["samples"][place : place + 1])


def test_an_sgool_sampler_is_not_left_off(model: Any, vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bar = list[float]()
    monkeypatch.setattr(progress, "BETWEEN_MOVES", 0.0)
    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", lambda _, value, total, _preview=None: bar.append(value / total))
    (guider,) = custom.CFGGuider.execute(model, conditioning(1), conditioning(2), 3.0).result
    (sigmas,) = custom.BasicScheduler.execute(model, "normal", 2, 1.0).result
    (noise,) = custom.RandomNoise.execute(40).result
    sampler = SGOOLSampler(comfy.samplers.sampler_object("euler"), Red(), vae, PRESETS["balanced"].with_iterations(1))
    options = {"objective": Red(), "vae": vae, "seeds": 2, "keep": 1, "halving": True}
    latent_image = {"samples": torch.zeros(1, 4, 8, 8)}
    shared = {"guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent_image}
    assert OPTIMIZES in BestOfNAdvanced.execute(noise=noise, **shared, **options).result[-1]
    assert bar == sorted(bar)
    looks_and_steps = 2 * (2 + 1) + 1  # two seeds of two steps and a look, and the decode of the one kept
    assert min(abs(share - (1 - 1 / looks_and_steps)) for share in bar) < 1e-4
    assert bar[-1] == 1


def test_the_bar_moves_with_each_image_that_is_decoded_in_the_end(model: Any, vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bar = list[float]()
    monkeypatch.setattr(progress, "BETWEEN_MOVES", 0.0)
    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", lambda _, value, total, _preview=None: bar.append(value / total))
    best(model, vae, keep=3)
    looks_and_steps = 6 * (STEPS + 1) + 3
    for left in (3, 2, 1, 0):
        assert min(abs(share - (1 - left / looks_and_steps)) for share in bar) < 1e-4
    assert sum(share > 1 - 3 / looks_and_steps for share in bar) > 6  # and within each, with the decoder's blocks


@pytest.mark.parametrize("call", [1, 2, 4])
def test_cancel_takes_effect_within_one_model_call(call: int, model: Any, vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count, apply_model = [0], model.model.apply_model

    def counted(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] == call:
            comfy.model_management.interrupt_current_processing()
        return apply_model(*args, **kwargs)

    monkeypatch.setattr(model.model, "apply_model", counted)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        best(model, vae)
    assert count[0] == call


def test_cancel_ends_it_and_the_next_run_is_right(model: Any, vae: Any) -> None:
    expected = best(model, vae)[0]["samples"]

    def cancel(call: int) -> None:
        if call == 2:
            comfy.model_management.interrupt_current_processing()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        best(model, vae, objective=Red(cancel), halving=True)
    assert torch.equal(best(model, vae)[0]["samples"], expected)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keep": 7}, "7 images are to be kept of the 6"),
        ({"denoise": 0.0}, "no steps to sample"),
    ],
)
def test_what_cannot_be_done_is_said(model: Any, vae: Any, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        best(model, vae, **changes)


def test_a_missing_objective_or_vae_is_said(model: Any, vae: Any) -> None:
    options = {"seed": 0, "seeds": 1, "keep": 1, "halving": False}
    with pytest.raises(ValueError, match="There is no objective"):
        BestOfN.execute(**ksampler(model), objective=None, vae=vae, **options)
    with pytest.raises(ValueError, match="There is no VAE"):
        BestOfN.execute(**ksampler(model), objective=Red(), vae=None, **options)


def test_noise_without_a_seed_is_refused(model: Any, vae: Any) -> None:
    (guider,) = custom.BasicGuider.execute(model, conditioning(1)).result
    (sigmas,) = custom.BasicScheduler.execute(model, "normal", 2, 1.0).result
    (noise,) = custom.DisableNoise.execute().result
    shared = {"guider": guider, "sampler": comfy.samplers.sampler_object("euler"), "sigmas": sigmas}
    options = {"objective": Red(), "vae": vae, "seeds": 2, "keep": 1, "halving": False}
    with pytest.raises(ValueError, match="connect RandomNoise"):
        BestOfNAdvanced.execute(noise=noise, latent_image={"samples": torch.zeros(1, 4, 8, 8)}, **shared, **options)
