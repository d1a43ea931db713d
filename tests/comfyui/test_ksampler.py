"""SGOOL KSampler beside core's KSampler, through the nodes' own functions."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from comfy_api.latest import io
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.comfy_bridge.sgool_sampler import KEPT_START, SGOOLSampler
from sgool.guidance.objective import Context, Scored
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.frames import Frames
from sgool.latent_optimization.presets import DEFAULT_PRESET, PRESETS, Preset
from sgool.latent_optimization.regularizers import REGULARIZERS, WhiteNoise
from sgool.latent_optimization.reversible import EDICT
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.update_rules import UPDATE_RULES
from sgool.latent_optimization.update_rules.adam import AdamUpdate
from sgool.latent_optimization.update_rules.doodl import DOODLUpdate
from sgool.nodes.sampling import SGOOLKSamplerNode, SGOOLReportNode, SGOOLSamplerNode
from sgool.nodes.settings import SMOOTHING, TRUST_REGIONS, OptimizationSettingsNode, preset_from

import nodes

from .objectives import Red
from .tiny_models import MODEL_TYPES, conditioning, tiny_model, tiny_vae
from .untouched import as_given

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore")]
SCHEDULERS = list(comfy.samplers.SCHEDULER_NAMES)
SAMPLERS = list(comfy.samplers.SAMPLER_NAMES)
KSAMPLER_WIDGETS = ["model", "seed", "steps", "cfg", "sampler_name", "scheduler", "positive", "negative", "latent_image", "denoise"]


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
    ours = SGOOLKSamplerNode.execute(**common, preset={"preset": "balanced", "iterations": 0}).result[0]
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


def optimized(
    model: Any, latent: dict[str, Any], *, sampler: str = "euler", denoise: float = 1.0, iterations: int = 2, seed: int = 5, **kwargs: Any
) -> Any:
    preset = {"preset": "balanced", "iterations": iterations}
    arguments: dict[str, Any] = {"objective": Red(), "vae": tiny_vae(), "preset": preset, **kwargs}
    return SGOOLKSamplerNode.execute(
        model=model,
        seed=seed,
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
    latent, noise, plot, text, *_ = optimized(models[kind], empty(), iterations=4)
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
    result, noise, *_ = optimized(models["eps"], latent, denoise=0.6)
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
    assert list(ours["required"])[len(core) :] == ["preset"]
    assert list(ours["optional"]) == ["objective", "vae", "settings", "held_out", "top_k"]


def test_every_input_and_output_is_explained() -> None:
    for node in (SGOOLSamplerNode, SGOOLKSamplerNode, SGOOLReportNode, OptimizationSettingsNode):
        schema = node.GET_SCHEMA()
        assert schema.description
        assert schema.search_aliases
        assert all(item.tooltip for item in [*schema.inputs, *schema.outputs])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"vae": None}, "no VAE"),
        ({"vae": tiny_vae(16)}, "16 channels"),
    ],
)
def test_what_is_missing_is_said(change: dict[str, Any], sentence: str, models: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=sentence):
        optimized(models["eps"], empty(), **change)


PLAIN = {"preset": "balanced", "iterations": 0}


def test_a_sampler_is_not_wrapped_twice() -> None:
    wrapped = SGOOLSamplerNode.execute(sampler=comfy.samplers.sampler_object("euler"), preset=PLAIN).result[0]
    with pytest.raises(ValueError, match="optimizes already"):
        SGOOLSamplerNode.execute(sampler=wrapped, preset=PLAIN)
    with pytest.raises(ValueError, match="Expected a SAMPLER"):
        SGOOLSamplerNode.execute(sampler="euler", preset=PLAIN)


UNTOUCHED = as_given(OptimizationSettingsNode.define_schema().inputs)


def test_untouched_settings_are_the_default_preset() -> None:
    assert OptimizationSettingsNode.execute(**UNTOUCHED).result[0] == PRESETS[DEFAULT_PRESET]


def test_widgets_show_what_is_used_and_stay_in_range_when_clicked() -> None:
    """One click on + or - of any widget gives a value that the settings take."""
    for each in OptimizationSettingsNode.define_schema().inputs:
        options = each.options if isinstance(each, io.DynamicCombo.Input) else [None]
        for option in options:
            for widget in [each] if option is None else option.inputs:
                if not isinstance(widget, (io.Int.Input, io.Float.Input)):
                    continue
                step = getattr(widget, "step", None) or 1
                for clicked in (min(widget.default + step, widget.max), max(widget.default - step, widget.min)):
                    value = clicked if option is None else {each.id: option.key, **as_given(option.inputs), widget.id: clicked}
                    preset_from({**UNTOUCHED, each.id: value})


def test_settings_change_what_they_name() -> None:
    doodl = {"rule": "DOODL", "gradient_scale": 1.0, "clip": 0.01, "momentum": 0.5, "perturbation": 1e-4}
    target = {"target": "stop at", "target_loss": -1.0}
    changed = preset_from({**UNTOUCHED, "rule": doodl, "patience": 3, "target": target, "best_of": 2, "search_augmented": True}).settings
    assert changed.rule == DOODLUpdate(clip=0.01, momentum=0.5)
    assert (changed.stopping.patience, changed.stopping.target_loss) == (3, -1.0)
    assert (changed.best_of, changed.search_augmented) == (2, True)
    adam = {"rule": "Adam", "step_size": 0.05, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-2}
    calls = {"gradient_calls": "last", "count": 2}
    preset = preset_from({**UNTOUCHED, "rule": adam, "gradient_calls": calls, "returned": {"returned": "best"}, "procedure": "SGOOL"})
    assert preset.settings.rule == AdamUpdate(0.05, 0.8, 0.9, 1e-2)
    assert preset.settings.returned == "best"
    assert preset.jacobian == JacobianSchedule("last", 2)
    assert preset.procedure == PRESETS["SGOOL"].procedure
    assert preset_from({**UNTOUCHED, "frames": {"frames": "every", "count": 6}}).frames == Frames("every", 6)
    noisy = preset_from({**UNTOUCHED, "regularizer": {"regularizer": "white noise", "weight": 0.5}})
    assert noisy.settings.regularizer == WhiteNoise(0.5)
    with pytest.raises(ValueError, match=r"step_size is 0\.0; it has to be above 0\."):
        preset_from({**UNTOUCHED, "rule": {"rule": "normalized gradient", "step_size": 0.0, "momentum": 0.9}})


def test_every_update_rule_and_regularizer_can_be_chosen() -> None:
    known = {"rule": UPDATE_RULES, "regularizer": REGULARIZERS, "trust_region": TRUST_REGIONS, "smoothing": SMOOTHING}
    combos = {each.id: each for each in OptimizationSettingsNode.define_schema().inputs}
    for name, kinds in known.items():
        assert {*kinds} <= {option.key for option in combos[name].options}
        for option in combos[name].options:
            settings = preset_from({**UNTOUCHED, name: {name: option.key, **as_given(option.inputs)}}).settings
            shown = (kinds[option.key](), getattr(PRESETS[DEFAULT_PRESET].settings, name)) if option.key != "none" else (None,)
            assert getattr(settings, name) in shown


def test_connected_settings_replace_preset_and_iterations(models: dict[str, Any]) -> None:
    settings = Preset(Settings(iterations=1))
    assert "returned: iteration 1" in optimized(models["eps"], empty(), settings=settings, iterations=2)[3]


class Dark(Red):
    """The darker the better: what Red does to a gray image, it does not like."""

    def __call__(self, images: torch.Tensor, context: Context) -> Scored:
        self.calls += 1
        assert not images.requires_grad
        return Scored(images.square().mean((1, 2, 3)), {})


def test_a_held_out_objective_is_watched_by_both_nodes(models: dict[str, Any]) -> None:
    held_out = Dark()
    latent, noise, _, history, *_ = optimized(models["eps"], empty(), held_out=held_out)
    assert held_out.calls == 4
    assert history.count("held out, ") == 4
    plain = optimized(models["eps"], empty())
    assert torch.equal(latent["samples"], plain[0]["samples"])
    assert torch.equal(noise["samples"], plain[1]["samples"])
    preset = {"preset": "balanced", "iterations": 0}
    arguments: dict[str, Any] = {"sampler": comfy.samplers.sampler_object("euler"), "preset": preset, "held_out": held_out}
    assert SGOOLSamplerNode.execute(**arguments).result[0].held_out is held_out


def test_zero_iterations_of_a_preset_do_not_search() -> None:
    sampler = comfy.samplers.sampler_object("euler")
    assert not SGOOLSamplerNode.execute(sampler=sampler, preset={"preset": "search first", "iterations": 0}).result[0].optimizes
    searching = Preset(Settings(iterations=0, best_of=3))
    arguments = {"sampler": sampler, "objective": Red(), "vae": tiny_vae()}
    assert SGOOLSamplerNode.execute(**arguments, preset=PLAIN, settings=searching).result[0].preset == searching
    shown = as_given(SGOOLSamplerNode.define_schema().inputs[3:4])["preset"]
    assert shown == {"preset": DEFAULT_PRESET, "iterations": 5}
    assert SGOOLSamplerNode.execute(**arguments, preset=shown).result[0].preset == PRESETS[DEFAULT_PRESET]


def test_an_inverted_start_is_not_searched_away() -> None:
    inverted = ReversibleSampler(EDICT(), pair=torch.zeros(1, 2, 4, 8, 8))
    kept = SGOOLSampler(inverted, Red(), tiny_vae(), PRESETS["search first"])
    assert kept.preset.settings.best_of == 1
    assert KEPT_START in kept._remarks
    assert SGOOLSampler(ReversibleSampler(EDICT()), Red(), tiny_vae(), PRESETS["search first"]).preset.settings.best_of == 16


def latent_of_batch(latent: dict[str, Any], index: int) -> dict[str, Any]:
    (one,) = nodes.LatentFromBatch().frombatch(latent, index, 1)
    return one


@pytest.mark.parametrize("preset", ["search first", "balanced"])
def test_an_image_of_a_batch_can_be_made_again_alone(preset: str, models: dict[str, Any]) -> None:
    """As Latent From Batch, Repeat Latent Batch and masked latents hand it on: core gives that image its own noise again."""
    batch = {"samples": torch.zeros(3, 4, 8, 8)}
    (repeated,) = nodes.RepeatLatentBatch().repeat({"samples": torch.zeros(1, 4, 8, 8), "batch_index": [4]}, 3)
    inpainted = {**masked(), "noise_mask": torch.ones(2, 1, 8, 8)}
    for latent, index in ((batch, 2), (repeated, 1), (inpainted, 1)):
        settings = Preset(replace(PRESETS[preset].settings, iterations=2, best_of=3, returned="rescored"))
        together, noises, *_ = optimized(models["eps"], latent, settings=settings, seed=3)
        alone, noise, *_ = optimized(models["eps"], latent_of_batch(latent, index), settings=settings, seed=3)
        assert torch.allclose(noise["samples"][0], noises["samples"][index], atol=1e-3)
        assert torch.allclose(alone["samples"][0], together["samples"][index], rtol=1e-3, atol=1e-3)


def test_a_report_shows_what_the_sampler_did(models: dict[str, Any]) -> None:
    sampler = SGOOLSamplerNode.execute(
        sampler=comfy.samplers.sampler_object("euler"), objective=Red(), vae=tiny_vae(), preset={"preset": "balanced", "iterations": 2}
    ).result[0]
    guider = comfy.samplers.CFGGuider(models["eps"])
    guider.set_conds(conditioning(1), conditioning(2))
    sigmas = comfy.samplers.calculate_sigmas(models["eps"].get_model_object("model_sampling"), "normal", 3)
    made = []
    for seed in (1, 2):  # one sampler, two nodes: each has its own report
        made.append(custom.SamplerCustomAdvanced.execute(custom.Noise_RandomNoise(seed), guider, sampler, sigmas, empty()).result[0])
    reports = [SGOOLReportNode.execute(sampler=sampler, latent=latent).result for latent in made]
    for latent, (noise, plot, text, _) in zip(made, reports, strict=True):
        guided = guider.sample(noise["samples"], torch.zeros(2, 4, 8, 8), comfy.samplers.sampler_object("euler"), sigmas, seed=1)
        assert torch.equal(guided, latent["samples"])
        assert "3 sampler runs, 2 of them differentiated" in text
        assert plot.shape[-1] == 3
    assert reports[0][2] != reports[1][2]
    with pytest.raises(ValueError, match="not made by this sampler"):
        SGOOLReportNode.execute(sampler=sampler, latent=empty())
    with pytest.raises(ValueError, match="keeps no record"):
        SGOOLReportNode.execute(sampler=comfy.samplers.sampler_object("euler"), latent=made[0])


def test_disabled_noise_stays_disabled(models: dict[str, Any]) -> None:
    """The second half of SplitSigmas, as SamplerCustomAdvanced runs it: no noise is added where none was to be."""
    sampler = SGOOLSamplerNode.execute(
        sampler=comfy.samplers.sampler_object("euler"),
        objective=Red(),
        vae=tiny_vae(),
        preset={"preset": "balanced", "iterations": 0},
        settings=Preset(Settings(iterations=0, best_of=4)),
    ).result[0]
    guider = comfy.samplers.CFGGuider(models["eps"])
    guider.set_conds(conditioning(1), conditioning(2))
    sigmas = comfy.samplers.calculate_sigmas(models["eps"].get_model_object("model_sampling"), "normal", 6)[3:]
    latent = {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))}
    output = custom.SamplerCustomAdvanced.execute(custom.Noise_EmptyNoise(), guider, sampler, sigmas, latent).result[0]
    plain = custom.SamplerCustomAdvanced.execute(
        custom.Noise_EmptyNoise(), guider, comfy.samplers.sampler_object("euler"), sigmas, latent
    ).result[0]
    assert torch.equal(output["samples"], plain["samples"])
    assert "no other noises were tried" in SGOOLReportNode.execute(sampler=sampler, latent=output).result[2]
