"""The check of a model's gradient before a run: when it is made, what it costs, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from sgool.comfy_bridge import self_check
from sgool.comfy_bridge.outcome import Outcome
from sgool.comfy_bridge.self_check import CALLS
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.comfy_bridge.third_party import third_parties
from sgool.latent_optimization.presets import CHECK_ALWAYS, CHECK_NEVER, CHECK_PATCHED, Preset
from sgool.latent_optimization.settings import Settings
from torch import Tensor

from .guided import gradient, through_guider
from .objectives import Red
from .stateful import ACROSS_CALLS, WITHIN_CALLS, Patched
from .tiny_models import conditioning, tiny_controlnet, tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore:Should have t[ab]")]
STEPS, RUNS = 3, 2


def optimized(model: Any, when: str = CHECK_PATCHED) -> Outcome:
    sampler = SGOOLSampler(comfy.samplers.sampler_object("euler"), Red(), tiny_vae(), Preset(Settings(iterations=1), gradient_check=when))
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", STEPS)
    zeros = torch.zeros_like(noise)
    comfy.sample.sample_custom(model, noise, 2.0, sampler, sigmas, conditioning(1), conditioning(2), zeros, seed=5)
    assert sampler.outcomes.last is not None
    return sampler.outcomes.last


def calls(outcome: Outcome) -> int | None:
    return outcome.history.cost.model_calls


def wrapped(change: Callable[[Tensor], Tensor]) -> Any:
    """A model with a wrapper around its calls that is no code of ComfyUI's."""
    model = tiny_model()
    model.set_model_unet_function_wrapper(lambda apply, given: apply(change(given["input"]), given["timestep"], **given["c"]))
    return model


def test_another_packs_code_is_checked_once_and_its_cost_counted() -> None:
    model = wrapped(lambda x: x)
    first, second = optimized(model), optimized(model)
    assert [message for message in first.messages if "compared with the model's slope once: it agrees" in message]
    assert "test_self_check" in first.messages[-1]
    assert calls(first) == RUNS * STEPS + CALLS
    assert second.messages == []
    assert calls(second) == RUNS * STEPS
    assert torch.equal(first.noise, second.noise)
    assert torch.equal(first.noise, optimized(model, CHECK_NEVER).noise)


def test_a_patch_that_detaches_is_named_in_every_run_and_checked_in_the_first() -> None:
    model = wrapped(lambda x: x.detach())
    for cost in (CALLS, 0):
        outcome = optimized(model)
        (message,) = outcome.messages
        assert "does not agree with the model's own slope" in message
        assert "(here: test_self_check)" in message
        assert message in outcome.to_text()
        assert calls(outcome) == RUNS * STEPS + cost
    assert optimized(model, CHECK_NEVER).messages == []


def test_a_patch_that_detaches_a_small_part_is_found_as_well() -> None:
    """Attention alone, whose part of the slope is below the tolerance of the comparison."""
    model = tiny_model()
    exact = through_guider(model, gradient)
    patched = model.clone()
    patched.set_model_attn1_output_patch(lambda x, options: x.detach())
    assert 0.9 < float(torch.cosine_similarity(through_guider(patched, gradient).flatten(), exact.flatten(), dim=0)) < 0.999
    outcome = optimized(patched)
    assert "does not agree with the model's own slope" in outcome.messages[0]
    assert calls(outcome) == RUNS * STEPS + CALLS + 1


looked_at: list[float] = []  # of the module: what a patch keeps elsewhere is put back before each run


def test_a_patch_that_detaches_what_it_only_looks_at_is_none() -> None:
    looked_at.clear()

    def look(x: Tensor, options: Any) -> Tensor:
        looked_at.append(float(x.detach().abs().mean()) + float(x.data.abs().mean()))
        return x

    model = tiny_model()
    model.set_model_attn1_output_patch(look)
    outcome = optimized(model)
    assert looked_at
    assert "it agrees" in outcome.messages[0]
    assert calls(outcome) == RUNS * STEPS + CALLS + 1


def test_another_patch_on_the_same_model_is_checked_anew() -> None:
    model = tiny_model()
    assert calls(optimized(model)) == RUNS * STEPS
    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(lambda args: args["denoised"])
    assert calls(optimized(patched)) == RUNS * STEPS + CALLS
    assert calls(optimized(model)) == RUNS * STEPS


def test_an_unpatched_model_is_checked_where_that_is_asked_for() -> None:
    model = tiny_model()
    assert calls(optimized(model)) == RUNS * STEPS
    for cost in (CALLS, 0):
        outcome = optimized(model, CHECK_ALWAYS)
        assert calls(outcome) == RUNS * STEPS + cost
        assert outcome.messages == []


def test_half_precision_is_no_reason_for_a_warning() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        model = tiny_model()
        model.model.diffusion_model.to(dtype)
        model.model.diffusion_model.dtype = dtype
        assert optimized(model, CHECK_ALWAYS).messages == []


@pytest.mark.parametrize("make", ACROSS_CALLS + WITHIN_CALLS)
def test_cores_own_nodes_are_not_checked(make: Callable[[], Patched]) -> None:
    model, positive = make()
    assert through_guider(model, lambda run, noise: third_parties(run.model, run.extra_args), positive=positive) == []


def test_cores_controlnet_is_not_checked() -> None:
    hint = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    positive = [
        [conditioning(1)[0][0], {"control": tiny_controlnet().set_cond_hint(hint, 1.0, (0.0, 1.0)), "control_apply_to_uncond": True}]
    ]
    assert through_guider(tiny_model(), lambda run, noise: third_parties(run.model, run.extra_args), positive=positive) == []


def read_from(file: str) -> Callable[..., Any]:
    """A function as if it had been read from ``file``."""
    module = compile("def hook(args): return args['denoised']", file, "exec")
    code = next(constant for constant in module.co_consts if isinstance(constant, CodeType))
    return FunctionType(code, {"__name__": "elsewhere"}, "hook")


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("/somewhere/ComfyUI/custom_nodes/ComfyUI-Cache/src/nodes.py", ["ComfyUI-Cache"]),
        ("/somewhere/ComfyUI/custom_nodes/single_file.py", ["single_file"]),
        ("/somewhere/python/site-packages/fast_kernels/attention.py", ["fast_kernels"]),
        ("/somewhere/python/site-packages/torch/nn/functional.py", []),
        ("/somewhere/else/my_script.py", ["my_script"]),
    ],
)
def test_code_is_known_by_where_it_was_read_from(file: str, names: list[str]) -> None:
    model = tiny_model()
    model.set_model_sampler_post_cfg_function(read_from(file))
    assert through_guider(model, lambda run, noise: third_parties(run.model, run.extra_args)) == names


def test_layers_weights_and_attention_of_others_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(model: Any) -> list[str]:
        return through_guider(model, lambda run, noise: third_parties(run.model, run.extra_args))

    class Theirs(torch.nn.Module):
        pass

    class Packed(Tensor):
        pass

    layers, weights = tiny_model(), tiny_model()
    layers.model.diffusion_model.theirs = Theirs()
    weights.model.diffusion_model.out[-1].weight = torch.nn.Parameter(torch.ones(4).as_subclass(Packed), requires_grad=False)
    assert third_parties(_Guider(layers), {}) == third_parties(_Guider(weights), {}) == ["test_self_check"]
    patched = tiny_model()
    patched.add_object_patch("diffusion_model.out.1", Theirs())
    assert third_parties(_Guider(patched), {}) == ["test_self_check"]
    assert names(tiny_model()) == []

    def attention_sage(*args: Any, **kwargs: Any) -> None: ...

    monkeypatch.setattr("comfy.ldm.modules.attention.optimized_attention", attention_sage)
    assert "attention_sage" in third_parties(_Guider(tiny_model()), {})


def test_a_function_of_core_that_a_pack_has_replaced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    own = comfy.samplers.calc_cond_batch

    def theirs(*args: Any) -> Any:
        return own(*args)

    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", theirs)
    assert third_parties(_Guider(tiny_model()), {}) == ["test_self_check"]


class _Guider(comfy.samplers.CFGGuider):
    def __init__(self, patcher: Any) -> None:
        super().__init__(patcher)
        self.inner_model = patcher.model


_Guider.__module__ = "comfy.samplers"


def test_memory_that_does_not_suffice_is_said_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wrapped(lambda x: x)

    def full(*args: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory (pretended)")

    with monkeypatch.context() as patch:
        patch.setattr(self_check, "warning_about_gradient", full)
        outcome = optimized(model)
    assert "was not checked: there was no memory for it (here: test_self_check)" in outcome.messages[0]
    assert torch.equal(outcome.noise, optimized(model, CHECK_NEVER).noise)
    assert calls(optimized(model)) == RUNS * STEPS + CALLS  # made up for


made: list[int] = []  # of the module: what a patch keeps elsewhere is put back after the check


def test_cancel_takes_effect_in_the_check() -> None:
    made.clear()

    def cancel(x: Tensor) -> Tensor:
        made.append(1)
        if len(made) == 2:
            comfy.model_management.interrupt_current_processing()
        return x

    model = wrapped(cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        optimized(model)
    comfy.model_management.interrupt_current_processing(False)
    assert len(made) == 2  # as it is made again for backward
    assert calls(optimized(model)) == RUNS * STEPS + CALLS
