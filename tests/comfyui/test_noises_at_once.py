"""A search that samples several noises in one batch finds what it finds one after another, and does so only where that is true."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from sgool.comfy_bridge import memory, noises_at_once, optimization
from sgool.comfy_bridge.latent_parts import FramesAreBatch, Parts
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.latent_optimization.history import History
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.settings import Settings
from torch import Tensor

from .guided import Probe
from .objectives import Red
from .tiny_models import conditioning, tiny_model, tiny_vae

pytestmark = pytest.mark.comfyui
SHAPE = (2, 4, 8, 8)
SEARCH = Settings(iterations=0, best_of=6)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def searched(monkeypatch: pytest.MonkeyPatch, at_once: int, name: str = "dpmpp_2m") -> tuple[Tensor, History, list[int]]:
    """Latent, history, and the batches of the runs, of two images with prompts, latents and masks of their own."""
    batches: list[int] = []
    run = NoiseToLatent.__call__

    def noted(self: NoiseToLatent, noise: Tensor) -> Tensor:
        batches.append(len(noise))
        return run(self, noise)

    monkeypatch.setattr(NoiseToLatent, "__call__", noted)
    monkeypatch.setattr(optimization, "noises_at_once", lambda *_: at_once)
    with torch.inference_mode():
        model = tiny_model()
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
        sampler = SGOOLSampler(comfy.samplers.sampler_object(name), Red(), tiny_vae(), Preset(SEARCH))
        positive = [[normal(1, 2, 5, 16), {}]]
        options = {"seed": 5, "disable_pbar": True, "noise_mask": (normal(4, 2, 1, 8, 8) > 0).float()}
        given = (model, normal(0, *SHAPE), 2.0, sampler, sigmas, positive, conditioning(2), normal(3, *SHAPE))
        latent = comfy.sample.sample_custom(*given, **options)
    assert sampler.outcomes.last is not None
    monkeypatch.undo()
    return latent, sampler.outcomes.last.history, batches


def close(one: History, other: History) -> None:
    assert one.started_from == other.started_from
    assert (one.cost.sampler_runs, one.cost.model_calls) == (other.cost.sampler_runs, other.cost.model_calls)
    for mine, theirs in zip(one.candidates, other.candidates, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)


def test_the_same_is_found_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    latent, history, batches = searched(monkeypatch, 1)
    assert batches == [2] * 6
    together, found, batches = searched(monkeypatch, 3)
    assert batches == [2, 6, 4]
    close(found, history)
    torch.testing.assert_close(together, latent, rtol=1e-4, atol=1e-5)
    assert len({tuple(each.loss) for each in history.candidates}) == 6  # or nothing would be told apart


def test_out_of_memory_goes_on_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _, history, _ = searched(monkeypatch, 1)
    run = NoiseToLatent._sample

    def short(self: NoiseToLatent, model: Any, noise: Tensor) -> Tensor:
        if len(noise) > 2:
            raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory")
        return run(self, model, noise)

    monkeypatch.setattr(NoiseToLatent, "_sample", short)
    _, found, batches = searched(monkeypatch, 4)
    assert batches == [2, 8] + [2] * 5
    close(found, history)


def number(
    monkeypatch: pytest.MonkeyPatch, name: str = "euler", free: float = 1e12, device: str = "cuda", parts: Parts | None = None
) -> int:
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_: free)

    def ask(make: Any, noise: Tensor) -> int:
        run = make()
        patcher = run.model.model_patcher
        own, patcher.load_device = patcher.load_device, torch.device(device)
        try:
            return noises_at_once.noises_at_once(run, parts or Parts(), noise.shape)
        finally:
            patcher.load_device = own

    with torch.inference_mode():
        model, probe = tiny_model(), Probe(ask, name)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
        comfy.sample.sample_custom(model, normal(0, *SHAPE), 2.0, probe, sigmas, conditioning(1), conditioning(2), normal(3, *SHAPE))
    return probe.found


def test_how_many_follows_from_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.inference_mode():
        of_one = memory.estimate(tiny_model().model, SHAPE, fine=False) / memory.CALL_RATIO
    assert number(monkeypatch) == noises_at_once.MOST
    assert number(monkeypatch, free=3.5 * of_one / memory.DEVICE_SHARE) == 3
    assert number(monkeypatch, free=0.0) == 1


@pytest.mark.parametrize(
    "changes", [{"name": "euler_ancestral"}, {"name": "ddim"}, {"name": "lcm"}, {"device": "cpu"}, {"parts": FramesAreBatch()}]
)
def test_one_where_a_batch_gives_something_else_or_is_no_faster(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    assert number(monkeypatch, **changes) == 1


@pytest.mark.parametrize("name", sorted(noises_at_once.DETERMINISTIC))
def test_what_is_batched_gives_a_noise_what_it_gives_alone(name: str) -> None:
    """In core's sampler itself: a noise first in a batch and last in another."""

    def ends(make: Any, noise: Tensor) -> Any:
        run = make()
        run.latent_image = run.latent_image[:1]
        with torch.no_grad():
            return [run(each) for each in (noise, noise.flip(0))]

    with torch.inference_mode():
        model, probe = tiny_model(), Probe(ends, name.removeprefix("sample_"))
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
        comfy.sample.sample_custom(model, normal(0, *SHAPE), 2.0, probe, sigmas, conditioning(1), conditioning(2), normal(3, *SHAPE))
    first, second = probe.found
    torch.testing.assert_close(first, second.flip(0), rtol=1e-4, atol=1e-5)
