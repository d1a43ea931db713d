"""The SAMPLER that wraps a SAMPLER: what it returns, that nothing outlives it, and that seeds decide everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.cli_args
import comfy.model_management
import comfy.ops
import comfy.sample
import comfy.samplers
import comfy.utils
import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from sgool.comfy_bridge import budget
from sgool.comfy_bridge.outcome import Outcome
from sgool.comfy_bridge.sgool_sampler import LAST_RUN, STILL_NOISY, SGOOLSampler
from sgool.latent_optimization import along_the_way
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.settings import Settings
from torch import Tensor

from .objectives import Red
from .tiny_models import conditioning, tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore:Should have t[ab]")]
SHAPE = (2, 4, 8, 8)
SETTINGS = Settings(iterations=2)


@pytest.fixture
def model() -> Any:
    return tiny_model()


def noise(batch: int = 2) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))[:batch]


def sample(model: Any, sampler: Any, start: Tensor | None = None, seed: int = 5, callback: Callable[..., None] | None = None) -> Tensor:
    start = noise() if start is None else start
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
    return comfy.sample.sample_custom(
        model, start, 2.0, sampler, sigmas, conditioning(1), conditioning(2), torch.zeros_like(start), seed=seed, callback=callback
    )


def wrapped(name: str = "euler", objective: Any = None, settings: Settings = SETTINGS, **others: Any) -> SGOOLSampler:
    return SGOOLSampler(comfy.samplers.sampler_object(name), objective or Red(), tiny_vae(), Preset(settings, **others))


def outcome_of(sampler: SGOOLSampler) -> Outcome:
    assert sampler.outcomes.last is not None
    return sampler.outcomes.last


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde", "euler_ancestral", "lcm", "ddim", "uni_pc"])
def test_the_optimized_noise_gives_the_same_latent_plainly(name: str, model: Any) -> None:
    sampler = wrapped(name)
    latent = sample(model, sampler)
    outcome = outcome_of(sampler)
    assert not torch.equal(outcome.noise, noise())
    assert torch.equal(sample(model, comfy.samplers.sampler_object(name), outcome.noise), latent)
    losses = [loss for _, loss in outcome.history.losses(0)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["dpmpp_sde", "euler_ancestral"])
def test_the_same_seed_gives_the_same_bits(name: str, model: Any) -> None:
    results = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        sampler = wrapped(name, settings=replace(SETTINGS, best_of=2))
        latent = sample(model, sampler)
        outcome = outcome_of(sampler)
        results.append((latent, outcome.noise, [row.loss for row in outcome.history.rows]))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert results[0][2] == results[1][2]


def test_the_global_generator_is_left_as_plain_sampling_leaves_it(model: Any) -> None:
    torch.manual_seed(1)
    sample(model, comfy.samplers.sampler_object("ddim"))
    after_plain = torch.get_rng_state()
    torch.manual_seed(1)
    sample(model, wrapped("ddim"))
    assert torch.equal(torch.get_rng_state(), after_plain)


def test_a_image_of_a_batch_fares_as_it_would_alone(model: Any) -> None:
    in_batch = sample(model, wrapped())
    alone = sample(model, wrapped(), noise(1))
    assert torch.allclose(in_batch[:1], alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max()))


def test_fewer_calls_with_gradient_still_improve(model: Any) -> None:
    for schedule in (JacobianSchedule("last", 1), JacobianSchedule("every", 2)):
        sampler = wrapped(settings=Settings(iterations=3), jacobian=schedule)
        sample(model, sampler)
        losses = [loss for _, loss in outcome_of(sampler).history.losses(0)]
        assert losses[-1] < losses[0]


def test_scoring_anew_decodes_each_iterate_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sgool.comfy_bridge import optimization

    decoded = []
    decode = optimization.decode_with_grad
    monkeypatch.setattr(optimization, "decode_with_grad", lambda *args, **named: decoded.append(args) or decode(*args, **named))
    sampler = wrapped(settings=replace(SETTINGS, returned="rescored", rescoring_candidates=3, rescoring_augmentations=4))
    sample(model, sampler, noise(1))
    assert len(outcome_of(sampler).history.rescored) == 3
    assert outcome_of(sampler).history.cost.evaluations == 3 + 3 * 4
    assert len(decoded) == 3 + 3  # once in its iteration, once for its four augmentations


def test_in_the_advanced_sampler_node(model: Any) -> None:
    sampler = wrapped()
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(1), conditioning(2))
    guider.set_cfg(2.0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
    latent = {"samples": torch.zeros(SHAPE)}
    output, denoised = custom.SamplerCustomAdvanced.execute(custom.Noise_RandomNoise(3), guider, sampler, sigmas, latent).result
    assert output["samples"].shape == SHAPE
    assert not torch.equal(output["samples"], torch.zeros(SHAPE))
    assert torch.equal(denoised["samples"], output["samples"])  # the last step ends at sigma 0
    assert sampler.outcomes.of(output["samples"]) is outcome_of(sampler)
    with pytest.raises(ValueError, match="not made by this sampler"):
        sampler.outcomes.of(output["samples"] + 1)


def run_through(model: Any, sampler: Any, sigmas: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, int]:
    """Output and denoised output of core's SamplerCustomAdvanced, and the model calls made."""
    calls = [0]
    apply_model = model.model.apply_model

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return apply_model(*args, **kwargs)

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(1), conditioning(2))
    guider.set_cfg(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(model.model, "apply_model", counted)
        output, denoised = custom.SamplerCustomAdvanced.execute(
            custom.Noise_RandomNoise(3), guider, sampler, sigmas, {"samples": torch.zeros(SHAPE)}
        ).result
    return output["samples"], denoised["samples"], calls[0]


def test_the_last_run_is_not_repeated(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
    sampler = wrapped(stored_calls=0)
    output, _, calls = run_through(model, sampler, sigmas, monkeypatch)
    outcome = outcome_of(sampler)
    assert not any("The schedule ends" in message for message in outcome.messages)
    assert calls == 3 * 3 + 2 * 3  # three runs, and backward computes each call of two of them again
    assert (outcome.history.cost.sampler_runs, outcome.history.cost.model_calls) == (3, 9)
    plain = run_through(model, comfy.samplers.sampler_object("euler"), sigmas, monkeypatch)[0]
    assert not torch.equal(output, plain)


def test_a_schedule_that_ends_early_has_its_denoised_output_and_says_what_that_took(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 5)[:4]
    sampler = wrapped(stored_calls=0)
    output, denoised, calls = run_through(model, sampler, sigmas, monkeypatch)
    outcome = outcome_of(sampler)
    assert LAST_RUN in outcome.messages
    assert STILL_NOISY.format(sigma=float(sigmas[-1])) in outcome.messages
    assert calls == 3 * 3 + 2 * 3 + 3
    assert (outcome.history.cost.sampler_runs, outcome.history.cost.model_calls) == (4, 12)
    monkeypatch.setattr(custom.Noise_RandomNoise, "generate_noise", lambda self, latent: outcome.noise)
    theirs = run_through(model, comfy.samplers.sampler_object("euler"), sigmas, monkeypatch)
    assert torch.equal(output, theirs[0])
    assert torch.equal(denoised, theirs[1])
    assert not torch.allclose(denoised, output, atol=0.1)


@pytest.mark.parametrize("previews", [True, False])
def test_the_bar_is_one_bar_and_ends_complete(previews: bool, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, int, Any]] = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: seen.append((value, total, preview)))
    method = comfy.cli_args.LatentPreviewMethod
    monkeypatch.setattr(comfy.cli_args.args, "preview_method", method.Latent2RGB if previews else method.NoPreviews)
    monkeypatch.setattr(budget, "SHARE", 1e9)  # a run this short would show none
    sample(model, wrapped())
    values = [value for value, _, _ in seen]
    assert values == sorted(values)
    assert len({total for _, total, _ in seen}) == 1
    assert values[-1] == seen[0][1]
    images = [preview for _, _, preview in seen if preview is not None]
    assert len(images) == (3 if previews else 0)
    assert all(kind == "JPEG" and image.mode == "RGB" for kind, image, _ in images)


# --- nothing outlives a run


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state(model: Any) -> dict[str, Any]:
    """What a run may change and has to put back: ComfyUI's, torch's and the model's."""
    management = comfy.model_management
    return {
        "in_training": management.in_training,
        "streams": management.NUM_STREAMS,
        "patcher": sorted(model.__dict__),
        "patches": (sorted(model.patches), sorted(model.object_patches), sorted(model.wrappers), str(model.model_options)),
        "changed objects": sorted(model.object_patches_backup),
        "hooks": sum(len(getattr(module, name)) for module in model.model.modules() for name in HOOKS),
        "modes": torch._C._len_torch_function_stack(),
        "compiling": torch._dynamo.eval_frame._stance.stance,
        "quantized": comfy.ops.QuantLinearFunc,
        "forwards": [name for name, module in model.model.named_modules() if "forward" in module.__dict__],
        "inference": torch.is_inference_mode_enabled(),
        "grad": torch.is_grad_enabled(),
        "recorded": (torch.ones(1).requires_grad_() * 2).requires_grad,
        "default dtype": torch.get_default_dtype(),
    }


class Broken(RuntimeError):
    pass


def fail_at(number: int, error: BaseException) -> Callable[[int], None]:
    def on_call(call: int) -> None:
        if call == number:
            raise error

    return on_call


@pytest.mark.parametrize("number", [1, 3, 5])
def test_after_a_failure_everything_is_as_before(number: int, model: Any) -> None:
    plain = sample(model, comfy.samplers.sampler_object("euler"))
    before = state(model)
    with pytest.raises(Broken):
        sample(model, wrapped(objective=Red(fail_at(number, Broken()))))
    assert state(model) == before
    assert torch.equal(sample(model, comfy.samplers.sampler_object("euler")), plain)


@pytest.mark.parametrize("call", [1, 2, 4, 5, 8])
def test_cancel_takes_effect_within_one_model_call(call: int, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls 1 to 3 are the first iteration's, 4 to 6 are backward's."""
    plain = sample(model, comfy.samplers.sampler_object("euler"))
    before = state(model)
    count = [0]
    apply_model = model.model.apply_model

    def counted(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] == call:
            comfy.model_management.interrupt_current_processing()
        return apply_model(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(model.model, "apply_model", counted)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sample(model, wrapped())
    assert count[0] == call
    assert state(model) == before
    assert torch.equal(sample(model, comfy.samplers.sampler_object("euler")), plain)
    assert torch.isfinite(sample(model, wrapped())).all()


def test_after_success_everything_is_as_before(model: Any) -> None:
    plain = sample(model, comfy.samplers.sampler_object("euler"))
    before = state(model)
    first = sample(model, wrapped())
    assert state(model) == before
    assert torch.equal(sample(model, comfy.samplers.sampler_object("euler")), plain)
    assert torch.equal(sample(model, wrapped()), first)


def out_of_memory() -> Exception:
    return torch.cuda.OutOfMemoryError("CUDA out of memory (pretended)")


def test_out_of_memory_goes_on_with_finer_checkpoints(model: Any) -> None:
    expected = sample(model, wrapped())
    checkpointed = []

    def on_call(call: int) -> None:
        if call == 2:
            raise out_of_memory()
        checkpointed.append(any("forward" in module.__dict__ for module in model.model.diffusion_model.modules()))

    latent = sample(model, wrapped(objective=Red(on_call), stored_calls=0))
    assert not checkpointed[0]
    assert all(checkpointed[1:])
    assert torch.allclose(latent, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert state(model)["forwards"] == []


def test_out_of_memory_again_ends_in_a_sentence(model: Any) -> None:
    def on_call(call: int) -> None:
        raise out_of_memory()

    with pytest.raises(RuntimeError, match=r"a batch of 1 instead of 2; a latent smaller than 8x8; .* or iterations 0"):
        sample(model, wrapped(objective=Red(on_call)))
    assert not comfy.model_management.in_training


def test_models_that_were_sent_away_come_back(model: Any) -> None:
    """An objective's models may push the sampled model off the device; the run brings it back before the sampler's backward."""
    expected = sample(model, wrapped())
    loaded = []

    def on_call(call: int) -> None:
        with torch.inference_mode():
            comfy.model_management.unload_all_models()
        loaded.append(call)

    assert torch.equal(sample(model, wrapped(objective=Red(on_call))), expected)
    assert loaded


def test_the_plot_shows_images_along_the_way_and_none_where_they_are_not_wanted(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = wrapped()
    latent = sample(model, sampler)
    outcome = outcome_of(sampler)
    for index, row in enumerate(outcome.along_the_way):
        assert [each.iteration for each in row][-1] == outcome.history.returned_iteration[index]
        decoded = tiny_vae().decode(latent[index : index + 1])[0].movedim(-1, 0)
        assert torch.allclose(row[-1].image / 255, decoded, atol=0.01)
    monkeypatch.setattr(along_the_way, "_small", None)  # nothing is made small
    without = wrapped(plot_images=0)
    assert torch.equal(sample(model, without), latent)
    assert outcome_of(without).along_the_way == []
    assert outcome_of(without).to_plot().shape[1] < outcome.to_plot().shape[1]
