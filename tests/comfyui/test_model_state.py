"""Core's nodes that remember something between calls: gradients, and the same run however often it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from torch import Tensor

from .guided import error_along_gradient, gradient, through_guider
from .stateful import ACROSS_CALLS, WITHIN_CALLS, Patched

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore:Should have t[ab]")]
EVERY = ACROSS_CALLS + WITHIN_CALLS


@pytest.fixture(autouse=True)
def _as_in_a_node() -> Iterator[None]:
    with torch.inference_mode():
        yield


def made(make: Callable[[], Patched], action: Callable[[NoiseToLatent, Tensor], Any], **options: Any) -> Any:
    """What ``action`` finds in a run of the patched model, made afresh. Weights that change within a call are copied for backward."""
    torch.manual_seed(0)  # token merging draws from the global generator
    model, positive = make()
    options.setdefault("copy_constants", True)
    return through_guider(model, action, positive=positive, options=options)


@pytest.mark.parametrize("make", EVERY)
def test_gradients_agree_with_central_differences(make: Callable[[], Patched]) -> None:
    assert made(make, error_along_gradient) < 5e-3


@pytest.mark.parametrize("make", EVERY)
def test_recomputed_calls_give_the_gradient_of_stored_ones(make: Callable[[], Patched]) -> None:
    recomputed, stored = (made(make, gradient, use_checkpoint=checkpoint) for checkpoint in (True, False))
    assert torch.allclose(recomputed, stored, rtol=1e-4, atol=1e-5 * float(stored.abs().max()))


@pytest.mark.parametrize("make", EVERY)
def test_every_run_is_the_first_one(make: Callable[[], Patched]) -> None:
    def runs(run: NoiseToLatent, noise: Tensor) -> list[Tensor]:
        gradient(run, noise.clone())
        return [run(noise.clone().requires_grad_()).detach(), run(noise), run.plain(noise), run.plain(noise)]

    alone = made(make, lambda run, noise: run.plain(noise))
    for latent in made(make, runs):
        assert torch.allclose(latent, alone, rtol=1e-5, atol=1e-5 * float(alone.abs().max()))
