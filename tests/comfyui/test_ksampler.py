"""SGOOL KSampler beside core's KSampler, through the nodes' own functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import pytest
import torch
from sgool.latent_optimization.presets import PRESETS, Settings
from sgool.nodes.sampling import SGOOLKSamplerNode, SGOOLSamplerNode
from sgool.nodes.settings import OptimizationSettingsNode, settings_from

import nodes

from .objectives import Red
from .tiny_models import MODEL_TYPES, conditioning, tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore")]
SCHEDULERS = list(comfy.samplers.SCHEDULER_NAMES)
SAMPLERS = list(comfy.samplers.SAMPLER_NAMES)
KSAMPLER_WIDGETS = ["model", "seed", "steps", "cfg", "sampler_name", "scheduler", "positive", "negative", "latent_image", "denoise"]


@pytest.fixture(autouse=True)
def _no_progress_bars(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_ENABLED", False)
    with torch.inference_mode():  # as ComfyUI runs nodes
        yield


def empty() -> dict[str, Any]:
    return {"samples": torch.zeros(2, 4, 8, 8), "downscale_ratio_spacial": 8}


def masked() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    mask = (torch.rand(1, 1, 20, 20, generator=generator) > 0.5).float()
    return {"samples": torch.randn(2, 4, 8, 8, generator=generator), "noise_mask": mask, "batch_index": [3, 1]}


def both(model: Any, sampler: str, scheduler: str, latent: dict[str, Any], denoise: float) -> tuple[dict[str, Any], dict[str, Any]]:
    common = {
        "model": model,
        "seed": 2**40 + 5,
        "steps": 3,
        "cfg": 4.0,
        "sampler_name": sampler,
        "scheduler": scheduler,
        "positive": conditioning(1),
        "negative": conditioning(2),
        "latent_image": latent,
        "denoise": denoise,
    }
    (theirs,) = nodes.KSampler().sample(**common)
    ours = SGOOLKSamplerNode.execute(**common, preset="balanced", iterations=0).result[0]
    return theirs, ours


def assert_same(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    assert set(theirs) == set(ours)
    assert theirs["samples"].dtype == ours["samples"].dtype
    assert torch.equal(theirs["samples"], ours["samples"])


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    with torch.inference_mode():
        return {kind: tiny_model(kind) for kind in MODEL_TYPES}


@pytest.mark.parametrize("name", SAMPLERS)
def test_with_zero_iterations_every_sampler_is_ksampler_bit_for_bit(name: str, models: dict[str, Any]) -> None:
    number = SAMPLERS.index(name)
    model = models[list(MODEL_TYPES)[number % 3]]
    assert_same(*both(model, name, SCHEDULERS[number % len(SCHEDULERS)], empty(), 1.0))
    assert_same(*both(model, name, "karras", masked(), 0.6))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("kind", list(MODEL_TYPES))
def test_with_zero_iterations_every_scheduler_is_ksamplers(scheduler: str, kind: str, models: dict[str, Any]) -> None:
    assert_same(*both(models[kind], "euler", scheduler, empty(), 1.0))
    assert_same(*both(models[kind], "uni_pc", scheduler, masked(), 0.5))


def test_with_denoise_zero_nothing_is_sampled(models: dict[str, Any]) -> None:
    assert_same(*both(models["eps"], "euler", "normal", masked(), 0.0))


def optimized(model: Any, latent: dict[str, Any], *, sampler: str = "euler", denoise: float = 1.0, **kwargs: Any) -> Any:
    arguments: dict[str, Any] = {"objective": Red(), "vae": tiny_vae(), "preset": "balanced", "iterations": 2, **kwargs}
    return SGOOLKSamplerNode.execute(
        model=model,
        seed=5,
        steps=3,
        cfg=4.0,
        sampler_name=sampler,
        scheduler="normal",
        positive=conditioning(1),
        negative=conditioning(2),
        latent_image=latent,
        denoise=denoise,
        **arguments,
    ).result


@pytest.mark.parametrize("kind", list(MODEL_TYPES))
def test_it_lowers_the_loss_and_returns_what_the_noise_gives(kind: str, models: dict[str, Any]) -> None:
    latent, noise, plot, text = optimized(models[kind], empty(), iterations=4)
    losses = [float(loss) for loss in re.findall(r"^ +\d+ +([\d.]+) ", text.split("Image 2")[0], re.MULTILINE)]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert "returned: iteration 4" in text
    assert noise["samples"].shape == (2, 4, 8, 8)
    assert plot.ndim == 4
    assert plot.shape[-1] == 3
    assert 0 <= float(plot.min()) < float(plot.max()) <= 1
    sampled = comfy.sample.sample(
        models[kind], noise["samples"], 3, 4.0, "euler", "normal", conditioning(1), conditioning(2), empty()["samples"], seed=5
    )
    assert torch.equal(latent["samples"], sampled)


def test_what_a_mask_protects_stays(models: dict[str, Any]) -> None:
    latent = masked()
    latent["noise_mask"] = torch.zeros(1, 1, 8, 8)
    latent["noise_mask"][..., :4] = 1
    result, noise, _, _ = optimized(models["eps"], latent, denoise=0.6)
    (plain,) = nodes.common_ksampler(models["eps"], 5, 3, 4.0, "euler", "normal", conditioning(1), conditioning(2), latent, denoise=0.6)
    assert torch.allclose(result["samples"][..., 4:], latent["samples"][..., 4:], atol=1e-4)
    assert not torch.allclose(result["samples"][..., :4], plain["samples"][..., :4], atol=1e-3)
    assert "noise_mask" in result
    assert "noise_mask" not in noise


def test_an_adaptive_sampler_works_and_says_that_it_is_approximate(models: dict[str, Any]) -> None:
    one = {"samples": torch.zeros(1, 4, 4, 4)}
    assert "approximate" in optimized(models["flow"], one, sampler="dpm_adaptive", iterations=1)[3]
    assert "approximate" not in optimized(models["flow"], one, iterations=1)[3]


def test_the_widgets_are_ksamplers_and_then_ours() -> None:
    core = nodes.KSampler.INPUT_TYPES()["required"]
    ours = SGOOLKSamplerNode.INPUT_TYPES()
    assert list(ours["required"])[: len(core)] == list(core) == KSAMPLER_WIDGETS
    for name, (kind, *options) in core.items():
        our_kind, *our_options = ours["required"][name]
        if isinstance(kind, list):
            assert our_options[0]["options"] == kind
            continue
        assert our_kind == kind
        for key in ("default", "min", "max", "step", "round", "control_after_generate"):
            assert (options[0] if options else {}).get(key) == (our_options[0] if our_options else {}).get(key), (name, key)
    assert list(ours["required"])[len(core) :] == ["preset", "iterations"]
    assert list(ours["optional"]) == ["objective", "vae", "settings"]


def test_every_input_and_output_is_explained() -> None:
    for node in (SGOOLSamplerNode, SGOOLKSamplerNode, OptimizationSettingsNode):
        schema = node.GET_SCHEMA()
        assert schema.description
        assert schema.search_aliases
        assert all(item.tooltip for item in [*schema.inputs, *schema.outputs])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"objective": None}, "no objective"),
        ({"vae": None}, "no VAE"),
        ({"vae": tiny_vae(16)}, "16 channels"),
    ],
)
def test_what_is_missing_is_said(change: dict[str, Any], sentence: str, models: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=sentence):
        optimized(models["eps"], empty(), **change)


def test_a_sampler_is_not_wrapped_twice() -> None:
    wrapped = SGOOLSamplerNode.execute(sampler=comfy.samplers.sampler_object("euler"), preset="balanced", iterations=0).result[0]
    with pytest.raises(ValueError, match="optimizes already"):
        SGOOLSamplerNode.execute(sampler=wrapped, preset="balanced", iterations=0)
    with pytest.raises(ValueError, match="Expected a SAMPLER"):
        SGOOLSamplerNode.execute(sampler="euler", preset="balanced", iterations=0)


def untouched() -> dict[str, Any]:
    inputs = OptimizationSettingsNode.INPUT_TYPES()["required"]
    return {name: options["default"] for name, (_, options) in inputs.items() if name != "preset"}


@pytest.mark.parametrize("name", list(PRESETS))
def test_untouched_settings_are_the_preset(name: str) -> None:
    assert OptimizationSettingsNode.execute(preset=name, **untouched()).result[0] == PRESETS[name]


def test_settings_change_what_they_name() -> None:
    changed = settings_from(
        "DOODL", {**untouched(), "momentum": 0.5, "clip": 0.01, "patience": 3, "stop_at_target": True, "target_loss": -1.0, "best_of": 2}
    )
    assert (changed.rule.momentum, changed.rule.clip, changed.rule.perturbation) == (0.5, 0.01, 1e-4)
    assert (changed.stopping.patience, changed.stopping.target_loss) == (3, -1.0)
    assert (changed.best_of, changed.iterations) == (2, 50)
    assert settings_from("search first", {**untouched(), "search_scoring": "augmented"}).search_augmented
    adam = settings_from("balanced", {**untouched(), "rule": "Adam", "momentum": 0.8, "step_size": 0.05, "gradient_calls": "last"})
    assert (adam.rule.beta1, adam.rule.step_size, adam.jacobian.choice, adam.jacobian.count) == (0.8, 0.05, "last", 1)
    noisy = settings_from("balanced", {**untouched(), "regularizer": "white noise", "regularizer_weight": 0.5})
    assert noisy.regularizer.weight == 0.5
    with pytest.raises(ValueError, match="step size"):
        settings_from("balanced", {**untouched(), "step_size": 0.0})


def test_the_samplers_iterations_win_over_the_settings(models: dict[str, Any]) -> None:
    settings = Settings(iterations=1)
    assert "returned: iteration 2" in optimized(models["eps"], empty(), settings=settings, iterations=2)[3]
    assert "returned: iteration 1" in optimized(models["eps"], empty(), settings=settings, iterations=-1)[3]


def test_zero_iterations_of_a_preset_do_not_search(models: dict[str, Any]) -> None:
    plain = SGOOLSamplerNode.execute(sampler=comfy.samplers.sampler_object("euler"), preset="search first", iterations=0).result[0]
    assert not plain.optimizes
    searching = Settings(iterations=0, best_of=3)
    arguments = {"sampler": comfy.samplers.sampler_object("euler"), "objective": Red(), "vae": tiny_vae()}
    kept = SGOOLSamplerNode.execute(**arguments, preset="balanced", iterations=0, settings=searching).result[0]
    assert kept.settings == searching
    default = SGOOLSamplerNode.execute(**arguments, preset="search first", iterations=-1).result[0]
    assert default.settings == PRESETS["search first"]


def test_an_inverted_start_is_not_searched_away() -> None:
    from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
    from sgool.comfy_bridge.sgool_sampler import KEPT_START, SGOOLSampler
    from sgool.latent_optimization.reversible import EDICT

    inverted = ReversibleSampler(EDICT(), pair=torch.zeros(1, 2, 4, 8, 8))
    kept = SGOOLSampler(inverted, Red(), tiny_vae(), PRESETS["search first"])
    assert kept.settings.best_of == 1
    assert KEPT_START in kept._remarks
    assert SGOOLSampler(ReversibleSampler(EDICT()), Red(), tiny_vae(), PRESETS["search first"]).settings.best_of == 16
