"""Compiled models: gradients on the module as it was before it was compiled, plain calls on the compiled one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import comfy.samplers
import comfy_extras.nodes_torch_compile as torch_compile
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from sgool.comfy_bridge.compiled import COMPILED
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.settings import Settings
from torch import Tensor

from .guided import gradient, through_guider
from .objectives import Red
from .tiny_models import conditioning, tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def _nothing_stays_compiled() -> Iterator[None]:
    yield
    torch._dynamo.reset()


class Backend:
    """A compiler that leaves the graph as it is, counts its runs, and fails as inductor does where a gradient is asked for."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            self.runs += 1
            if any(isinstance(each, Tensor) and each.requires_grad for each in args):
                raise TypeError("to() received an invalid combination of arguments")
            return graph.forward(*args)

        return run


def compiled_by_wrapper(backend: Any) -> Any:
    """As TorchCompileModel does it."""
    model = tiny_model()
    set_torch_compile_wrapper(model=model, backend=backend)
    return model


def compiled_as_object(backend: Any) -> Any:
    """As packs do it that put the compiled module in the other's place."""
    model = tiny_model()
    model.add_object_patch("diffusion_model", torch.compile(model.get_model_object("diffusion_model"), backend=backend))
    return model


@pytest.fixture(autouse=True)
def _as_in_a_node() -> Iterator[None]:
    torch._dynamo.reset()
    with torch.inference_mode():
        yield
    torch._dynamo.reset()


@pytest.mark.parametrize("compiled", [compiled_by_wrapper, compiled_as_object])
def test_gradients_leave_out_what_plain_calls_use(compiled: Callable[[Any], Any]) -> None:
    backend = Backend()

    def look(run: NoiseToLatent, noise: Tensor) -> list[Any]:
        found = gradient(run, noise.clone())
        before = backend.runs
        return [found, before, run(noise.clone()), backend.runs]

    found, before, latent, after = through_guider(compiled(backend), look)
    expected, _, plain, _ = through_guider(tiny_model(), look)
    assert before == 0
    assert after > 0
    assert torch.equal(found, expected)
    assert torch.allclose(latent, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


def test_it_is_said_once() -> None:
    sampler = SGOOLSampler(comfy.samplers.sampler_object("euler"), Red(), tiny_vae(), Preset(Settings(iterations=2)))
    guider = comfy.samplers.CFGGuider(compiled_by_wrapper("eager"))
    guider.set_conds(conditioning(1), conditioning(2))
    guider.set_cfg(2.0)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sigmas = comfy.samplers.calculate_sigmas(guider.model_patcher.get_model_object("model_sampling"), "normal", 2)
    guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, seed=5)
    assert sampler.outcomes.last is not None
    assert sampler.outcomes.last.messages.count(COMPILED) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_with_inductor() -> None:
    expected = through_guider(tiny_model(), gradient)
    found = through_guider(torch_compile.TorchCompileModel.execute(tiny_model(), "inductor")[0], gradient)
    assert torch.equal(found, expected)
