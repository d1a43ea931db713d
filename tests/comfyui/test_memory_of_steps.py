"""How much memory more steps take where calls are checkpointed: counted bytes of core's samplers under the guider, model call and all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sgool.benchmarks.common.counted_parts import meta_model
from sgool.benchmarks.common.live_bytes import counted
from sgool.benchmarks.common.measuring import sampled
from torch import Tensor, nn

from .guided import Probe
from .tiny_models import conditioning, tiny_model

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore:Should have t[ab]")]
NOISE = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def peak(sampler: str, steps: int, wide: int) -> int:
    """The most bytes of a gradient through so many steps, of a model whose call keeps some ``wide / 4`` latents several times over."""
    with torch.inference_mode():
        model = tiny_model()
        layers = nn.Sequential(
            nn.Conv2d(4, wide, 3, padding=1), nn.SiLU(), nn.GroupNorm(4, wide), nn.Tanh(), nn.Conv2d(wide, 4, 3, padding=1)
        )
        model.model.apply_model = lambda x, t, *_, **__: layers(x)

        def action(make: Any, noise: Tensor) -> int:
            run, leaf = make(), noise.clone().requires_grad_()
            return counted(lambda: torch.autograd.grad(run(leaf).sum(), leaf)[0])[0]

        probe = Probe(action, sampler)
        sampled(model, probe, NOISE, (conditioning(1), conditioning(2)), {"steps": steps, "cfg": 3.0})
    return probe.found


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_ninety_more_steps_take_little_beside_a_call(sampler: str) -> None:
    few, many = (peak(sampler, steps, wide=64) for steps in (10, 100))
    latents = (many - few) / 90 / NOISE.nbytes
    sample = 256 * 4 / NOISE.nbytes  # of a call's last activation, kept to compare its recomputation with
    assert 0 < latents < 1.01 * (1 + sample) * (2 if sampler == "heun" else 1)


@pytest.mark.slow
def test_ninety_more_steps_of_sd15_at_512_px_take_less_than_two_per_cent() -> None:
    """Counted on torch's meta device: a whole gradient with guidance, each call checkpointed; nine times what ten more steps take."""

    def action(make: Any, noise: Tensor) -> int:
        run, leaf = make(), noise.clone().requires_grad_()
        return counted(lambda: torch.autograd.grad(run(leaf).sum(), leaf)[0])[0]

    _, sample = meta_model("SD 1.5", "fp16")
    few, many = (sample(action, steps, True) for steps in (2, 12))
    print(f"SD 1.5, fp16, 64 x 64: {few} bytes at 2 steps, {many} at 12")
    assert 0 < 9 * (many - few) < 0.02 * few
