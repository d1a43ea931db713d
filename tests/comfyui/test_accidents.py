"""Accidents in the middle of a run: what each leads to, that nothing is left of it, and that the next run is the right one to the bit."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.sd
import comfy.utils
import numpy as np
import pytest
import torch
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.latent_optimization.blocks import checkpointed_blocks
from torch import Tensor

from .fresh import in_fresh_process
from .guided import error_along_gradient, gradient, through_guider
from .objectives import Red
from .test_sgool_sampler import outcome_of, sample, state, wrapped
from .tiny_models import low_rank, tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore:Should have t[ab]")]
# Of the module, not of a patch: what a patch keeps is put back before each run and each call that is made again.
calls = itertools.count()
accidents: list[BaseException] = []


@pytest.fixture(autouse=True)
def _no_accidents_yet() -> None:
    accidents.clear()


def patched(change: Callable[[Callable[[], Tensor]], Tensor], model: Any = None) -> Any:
    """A model whose network is called by ``change``, as a custom node's wrapper does it."""
    model = (model or tiny_model()).clone()
    model.set_model_unet_function_wrapper(lambda apply, given: change(lambda: apply(given["input"], given["timestep"], **given["c"])))
    return model


def undisturbed() -> Tensor:
    """What a run gives to which nothing happens."""
    return sample(tiny_model(), wrapped())


@pytest.fixture(scope="module")
def of_a_fresh_process(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return in_fresh_process("sgool.tests.comfyui.test_accidents", undisturbed.__name__, tmp_path_factory.mktemp("fresh"))


@pytest.fixture
def right(of_a_fresh_process: Tensor) -> Callable[[Any], None]:
    """Called with a model after an accident on it: holds that nothing is left, and that the next run is that of a fresh process."""
    before = state(tiny_model())

    def check(model: Any) -> None:
        assert {**state(model), "patcher": before["patcher"]} == before
        assert torch.equal(sample(model, wrapped()), of_a_fresh_process)

    return check


def alone(model: Any, sampler: SGOOLSampler) -> Tensor:
    """What the sampler makes of the returned noise by itself."""
    return sample(model, comfy.samplers.sampler_object("euler"), outcome_of(sampler).noise)


# --- A forward pass that is not the same twice


def left_on(call: Callable[[], Tensor]) -> Tensor:
    return torch.nn.functional.dropout(call(), 0.3, training=True).tanh()


def stochastic_depth(call: Callable[[], Tensor]) -> Tensor:
    result = call()
    for _ in range(3):
        if random.random() < 0.5 and np.random.rand() < 0.9:
            result = result + 0.3 * result.tanh()
    return result


def by_itself(call: Callable[[], Tensor]) -> Tensor:
    """Draws from what nobody can put back."""
    return call().mul(1 + next(calls) % 2).tanh()


def by_itself_in_depth(call: Callable[[], Tensor]) -> Tensor:
    result = call()
    return result.tanh() if next(calls) % 2 else result.sin().cos().tanh()


@pytest.mark.parametrize("change", [left_on, stochastic_depth])
def test_random_numbers_of_the_global_generators_are_the_same_each_time(
    change: Callable[..., Tensor], right: Callable[[Any], None]
) -> None:
    model = tiny_model()
    noisy = patched(change, model)
    recomputed = _seeded(lambda: through_guider(noisy, gradient))
    stored = _seeded(lambda: through_guider(noisy, gradient, options={"use_checkpoint": False}))
    assert torch.allclose(recomputed, stored, rtol=1e-4, atol=1e-5 * float(stored.abs().max()))
    assert _seeded(lambda: through_guider(noisy, error_along_gradient)) < 5e-3
    sampler = wrapped()
    latent = _seeded(lambda: sample(noisy, sampler))
    assert torch.equal(_seeded(lambda: alone(noisy, sampler)), latent)
    right(model)


def with_dropout() -> Any:
    """A model whose attention drops out, as one that somebody left in training."""
    model = tiny_model()
    for module in model.model.diffusion_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
            module.train()
    return model


def test_dropout_in_the_networks_layers_is_the_same_each_time(right: Callable[[Any], None]) -> None:
    noisy, clean = with_dropout(), tiny_model()
    stored = _seeded(lambda: through_guider(noisy, gradient, options={"use_checkpoint": False}))
    assert not torch.allclose(stored, through_guider(clean, gradient), rtol=0.1)
    with checkpointed_blocks(noisy.model.diffusion_model) as blocks:
        of_blocks = _seeded(lambda: through_guider(noisy, gradient))
    assert len(blocks) > 2
    assert torch.allclose(of_blocks, stored, rtol=1e-4, atol=1e-5 * float(stored.abs().max()))
    sampler = wrapped()
    latent = _seeded(lambda: sample(noisy, sampler))
    assert torch.equal(_seeded(lambda: alone(noisy, sampler)), latent)
    right(clean)


def _seeded(run: Callable[[], Any]) -> Any:
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    return run()


@pytest.mark.parametrize("change", [by_itself, by_itself_in_depth])
def test_other_random_numbers_are_refused_with_a_sentence(change: Callable[..., Tensor], right: Callable[[Any], None]) -> None:
    model = tiny_model()
    with pytest.raises(RuntimeError, match=r"did something else when backward ran it again \(.*\)\. It depends on something that changed"):
        sample(patched(change, model), wrapped())
    right(model)


# --- Patches, other nodes, memory, the cancel button


def _attention_patch(model: Any) -> None:
    model.set_model_attn1_patch(lambda q, k, v, options: (q.detach(), k.detach(), v.detach()))
    model.set_model_attn2_output_patch(lambda x, options: x.detach())
    model.set_model_attn1_output_patch(lambda x, options: x.detach())


def _block_patch(model: Any) -> None:
    model.set_model_output_block_patch(lambda h, skip, options: (h.detach(), skip))


def _wrapper(model: Any) -> None:
    model.set_model_unet_function_wrapper(lambda apply, given: apply(given["input"], given["timestep"], **given["c"]).detach())


def _guidance(model: Any) -> None:
    model.set_model_sampler_cfg_function(lambda given: (2 * given["cond"] - given["uncond"]).detach())


def _after_guidance(model: Any) -> None:
    model.set_model_sampler_post_cfg_function(lambda given: given["denoised"].detach())


def _numpy(model: Any) -> None:
    model.set_model_sampler_post_cfg_function(lambda given: torch.from_numpy(given["denoised"].numpy().copy()))


@pytest.mark.parametrize("patch", [_attention_patch, _block_patch, _wrapper, _guidance, _after_guidance, _numpy])
def test_a_patch_that_detaches_is_said_and_gone_with_its_node(patch: Callable[[Any], None], right: Callable[[Any], None]) -> None:
    model = tiny_model()
    patched_model = model.clone()
    patch(patched_model)
    sampler = wrapped()
    assert torch.isfinite(sample(patched_model, sampler)).all()
    (warning,) = [message for message in outcome_of(sampler).messages if "does not agree with the model's own slope" in message]
    assert "(here: test_accidents)" in warning
    assert "leave out that node" in warning
    right(model)


def unloads(call: Callable[[], Tensor]) -> Tensor:
    """As a node does that wants the memory for a model of its own in the middle of the run."""
    result = call()
    if next(calls) % 4 == 2:
        comfy.model_management.unload_all_models()
    return result


def test_a_model_that_another_node_unloads_comes_back_with_its_lora(right: Callable[[Any], None]) -> None:
    model = tiny_model()
    with_lora = comfy.sd.load_lora_for_models(model, None, low_rank(model), 1.0, 0)[0]
    expected = sample(with_lora, wrapped())
    assert not torch.allclose(expected, sample(model, wrapped()), atol=1e-3)
    found = sample(patched(unloads, with_lora), wrapped())
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    right(model)


def test_a_model_that_the_objective_unloads_comes_back_with_its_lora(right: Callable[[Any], None]) -> None:
    """Between forward and backward, and between the iterations, in the mode that objectives are asked in."""
    model = tiny_model()
    with_lora = comfy.sd.load_lora_for_models(model, None, low_rank(model), 1.0, 0)[0]
    expected = sample(with_lora, wrapped())
    unloading = Red(lambda call: comfy.model_management.unload_all_models())
    assert torch.equal(sample(with_lora, wrapped(objective=unloading)), expected)
    assert unloading.calls > 2
    right(model)


def raises_in_backward(call: Callable[[], Tensor]) -> Tensor:
    result = call()
    if result.requires_grad:
        result.register_hook(lambda gradient: _raise())
    return result


def _raise() -> None:
    if accidents:
        raise accidents.pop()


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory (pretended)")


def _really_out_of_memory() -> Exception:
    """Torch's own exception, from asking for 2 EiB."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**61, dtype=torch.uint8)
    return caught.value


def _failing_decoder() -> Any:
    vae = tiny_vae()
    decode = vae.first_stage_model.decode

    def failing(latent: Tensor) -> Tensor:
        _raise()
        return decode(latent)

    vae.first_stage_model.decode = failing
    return vae


OUT_OF_MEMORY: dict[str, Callable[[], Exception]] = {
    "a GPU's": out_of_memory,
    "core's": lambda: comfy.model_management.OOM_EXCEPTION("pretended"),
    "an accelerator's": lambda: comfy.model_management.ACCELERATOR_ERROR("CUDA error: out of memory"),
    "a Mac's": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 17.12 GB, max allowed: 18.13 GB)."),
    "the processor's": _really_out_of_memory,
    "NumPy's": lambda: MemoryError("Unable to allocate 7.45 GiB for an array"),
}


@pytest.mark.parametrize("kind", list(OUT_OF_MEMORY))
def test_out_of_memory_in_backward_starts_again_with_each_block_checkpointed(kind: str, right: Callable[[Any], None]) -> None:
    model = tiny_model()
    expected = sample(model, wrapped())
    breaking = patched(raises_in_backward, model)
    sample(breaking, wrapped())  # with the check of its gradient, which has a backward too
    accidents.append(OUT_OF_MEMORY[kind]())
    latent = sample(breaking, wrapped())
    assert accidents == []
    assert torch.allclose(latent, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    right(model)


OPERATIONS: dict[str, Callable[[Any], tuple[Any, Any]]] = {  # from a model to one, and what is sampled with
    "backward": lambda model: (patched(raises_in_backward, model), wrapped()),
    "decoding": lambda model: (model, SGOOLSampler(comfy.samplers.sampler_object("euler"), Red(), _failing_decoder(), wrapped().preset)),
    "scoring": lambda model: (model, wrapped(objective=Red(lambda call: _raise()))),
}


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_out_of_memory_again_ends_in_a_sentence(operation: str, right: Callable[[Any], None]) -> None:
    model = tiny_model()
    breaking, sampler = OPERATIONS[operation](model)
    sample(breaking, sampler)
    accidents.extend([out_of_memory(), out_of_memory()])
    with pytest.raises(RuntimeError, match=r"Out of memory, also with every block checkpointed\. What would help, .* a batch of 1"):
        sample(breaking, sampler)
    assert accidents == []
    right(model)


@pytest.mark.parametrize("operation", ["decoding", "scoring"])
def test_out_of_memory_once_loses_nothing(operation: str, right: Callable[[Any], None]) -> None:
    model = tiny_model()
    expected = sample(model, wrapped())
    accidents.append(out_of_memory())
    latent = sample(*OPERATIONS[operation](model))
    assert accidents == []
    assert torch.allclose(latent, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    right(model)


def test_cancel_in_the_midst_of_backward(right: Callable[[Any], None]) -> None:
    model = tiny_model()
    breaking = patched(raises_in_backward, model)
    sample(breaking, wrapped())
    accidents.append(comfy.model_management.InterruptProcessingException())
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(breaking, wrapped())
    right(model)


@pytest.mark.parametrize("error", [out_of_memory(), comfy.model_management.InterruptProcessingException()])
def test_accidents_in_the_backward_of_an_objective(error: BaseException, right: Callable[[Any], None]) -> None:
    class Breaking(Red):
        def __call__(self, images: Tensor, context: Any) -> Any:
            if images.requires_grad:
                images = images.view_as(images)
                images.register_hook(lambda gradient: _raise())
            return super().__call__(images, context)

    model = tiny_model()
    accidents.append(error)
    if isinstance(error, torch.OutOfMemoryError):
        assert torch.isfinite(sample(model, wrapped(objective=Breaking()))).all()
    else:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sample(model, wrapped(objective=Breaking()))
    assert accidents == []
    right(model)
