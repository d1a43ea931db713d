"""Core's nodes that split a model call: into windows of frames, and over several devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy_extras.nodes_context_windows as context_windows
import comfy_extras.nodes_multigpu as multigpu
import pytest
import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.comfy_bridge.third_party import third_parties
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.settings import Settings
from torch import Tensor

from . import guided
from .families import building
from .families.configurations import FAMILIES
from .objectives import Red
from .test_videos import vae_of
from .tiny_models import tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore")]
WAN, FRAMES = "WAN21_T2V", 7
WINDOW, OVERLAP = 3, 1


@pytest.fixture(autouse=True)
def _as_in_a_node() -> Iterator[None]:
    logging.disable(logging.INFO)  # core tells of every window
    with torch.inference_mode():
        yield
    logging.disable(logging.NOTSET)


# --- Windows of frames


def windowed(schedule: str = "standard_static", fuse: str = "pyramid", freenoise: bool = False) -> Any:
    arguments = (schedule, 1, False, fuse, 2, freenoise)
    return context_windows.ContextWindowsManualNode.execute(building.build(WAN), WINDOW, OVERLAP, *arguments)[0]


def video_noise(model: Any) -> Tensor:
    batch, channels, _, *sides = building.latent_shape(WAN, model)
    return building.seeded((batch, channels, FRAMES, *sides), 0)


def sample(model: Any, sampler: Any, noise: Tensor | None = None) -> Tensor:
    """By core's own functions: it arranges the noise itself, where FreeNoise is on, before it calls the sampler."""
    noise = video_noise(model) if noise is None else noise.clone()
    conds = (building.conditioning(FAMILIES[WAN], seed) for seed in (1, 2))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 2)
    return comfy.sample.sample_custom(model, noise, 2.0, sampler, sigmas, *conds, torch.zeros_like(noise), seed=5)


def in_a_run(model: Any, action: Callable[[NoiseToLatent, Tensor], Any]) -> Any:
    probe = guided.Probe(lambda make, noise: action(make(), noise))
    sample(model, probe)
    return probe.found


@pytest.mark.parametrize(
    ("schedule", "fuse", "freenoise"),
    [("standard_static", "pyramid", True), ("standard_uniform", "relative", False), ("looped_uniform", "overlap-linear", False)],
)
def test_gradients_through_windows(schedule: str, fuse: str, freenoise: bool) -> None:
    def look(run: NoiseToLatent, noise: Tensor) -> tuple[Tensor, Tensor, float, list[str]]:
        own, expected = building.gradient(run, noise), building.reference(run, noise)
        return own, expected, building.slope_error(run, noise), third_parties(run.model, run.extra_args)

    own, expected, error, others = in_a_run(windowed(schedule, fuse, freenoise), look)
    assert error < 2e-3
    assert others == []
    if not freenoise:  # which the reference leaves out
        assert float((own - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize("freenoise", [True, False])
def test_the_returned_noise_gives_the_latent_with_the_same_node(freenoise: bool) -> None:
    """With FreeNoise, core arranges the returned noise once more, and noises that a search draws have to be arranged too."""
    euler, model = comfy.samplers.sampler_object("euler"), windowed(freenoise=freenoise)
    vae = vae_of(tiny_vae(16).first_stage_model, 16, video=False)
    sampler = SGOOLSampler(euler, Red(), vae, Preset(Settings(iterations=1, best_of=3, returned="last")))
    latent = sample(model, sampler)
    outcome = sampler.outcomes.last
    assert outcome is not None
    assert len({candidate.loss[0] for candidate in outcome.history.candidates}) == 3
    assert torch.equal(sample(model, euler, outcome.noise), latent)
    if freenoise:
        plain = sample(windowed(), euler, outcome.noise)
        assert not torch.allclose(plain, latent, atol=1e-3)  # the arrangement does matter here


# --- Several devices


@pytest.fixture
def on_two_devices(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny model as MultiGPU CFG Split makes it: two copies, each with a thread of its own. Both devices are this machine's CPU."""
    devices = [comfy.model_management.get_torch_device(), torch.device("cpu", 0)]
    assert devices[0] != devices[1]
    monkeypatch.setattr(comfy.model_management, "get_all_torch_devices", lambda exclude_current=False: devices)
    model = tiny_model()
    model.cached_patcher_init = (tiny_model, ())
    split = multigpu.MultiGPUCFGSplitNode.execute(model, 2)[0]
    assert len(split.get_additional_models_with_key("multigpu")) == 1
    return split


def test_gradients_over_several_devices(on_two_devices: Any) -> None:
    seen: list[bool] = []

    def look(run: NoiseToLatent, noise: Tensor) -> tuple[Tensor, Tensor, float]:
        seen.append("multigpu_thread_pool" in run.extra_args["model_options"])
        return guided.gradient(run, noise.clone()), run(noise.clone()), guided.error_along_gradient(run, noise)

    found, latent, error = guided.through_guider(on_two_devices, look)
    expected, plain, _ = guided.through_guider(tiny_model(), look)
    assert seen == [True, False]
    assert error < 5e-3
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert torch.allclose(latent, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))
