"""What a run does as memory gets short: the same gradients from fewer stored activations, and nothing lost that was done."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import pytest
import torch
from sgool.comfy_bridge import memory
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.latent_optimization.saved_tensors import WrittenLater, learned_of
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.stored_calls import StoredCalls
from torch import Tensor

from .families.building import build, gradient, through_guider
from .objectives import Red
from .test_sgool_sampler import noise, out_of_memory, outcome_of, sample, state, wrapped
from .tiny_models import tiny_model

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore")]
THREE = Settings(iterations=3, returned="last")


@pytest.mark.parametrize("name", ["Flux", "LTXV", "SD15", "WAN21_T2V"])
def test_stored_calls_of_real_networks_change_no_bit(name: str) -> None:
    def found(run: NoiseToLatent, start: Tensor) -> tuple[list[Tensor], list[int]]:
        gradients, numbers = [], []
        for wanted, room in ((0, 0.0), (1, 0.0), (2, 0.0), (None, 0.0), (None, 1e12)):
            run._stored = StoredCalls(wanted, lambda room=room: room)  # type: ignore[misc]
            gradients.append(gradient(run, start))
            numbers.append(run._stored.number)
        return gradients, numbers

    with torch.inference_mode():
        gradients, numbers = through_guider(name, build(name), found)
    assert numbers == [0, 1, 2, 0, 2]
    assert all(torch.equal(each, gradients[0]) for each in gradients[1:])


def run_short_of_memory(fails_at: int, **options: Any) -> tuple[list[float], Tensor, int]:
    """The losses, the latent, and how many model calls there were; memory runs out in one call of the objective."""
    model, seen = tiny_model(), []

    def on_call(call: int) -> None:
        seen.append(call)
        if call == fails_at:
            raise out_of_memory()

    calls, apply_model = [0], model.model.apply_model

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return apply_model(*args, **kwargs)

    model.model.apply_model = counted
    sampler = wrapped(objective=Red(on_call), settings=THREE, **options)
    latent = sample(model, sampler, noise(1))
    assert state(model)["forwards"] == []
    return [loss for _, loss in outcome_of(sampler).history.losses(0)], latent, calls[0]


def test_running_out_while_calls_are_stored_loses_nothing() -> None:
    losses, latent, calls = run_short_of_memory(0, stored_calls=0)
    assert calls == 4 * 3 + 3 * 3
    stored = run_short_of_memory(0, stored_calls=3)
    assert (stored[0], stored[2]) == (losses, 4 * 3)
    short = run_short_of_memory(3, stored_calls=3)  # in the third iteration
    # It is scored again, and its run made again in backward with one call stored, so two are computed again; the others stored all three.
    assert (short[0], short[2]) == (losses, 4 * 3 + 3 + 2)
    assert torch.equal(stored[1], latent)
    assert torch.equal(short[1], latent)


def test_automatic_stores_from_the_second_iteration_on(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, latent, _ = run_short_of_memory(0, stored_calls=0)
    for room, recomputed in ((1e12, 3), (0.0, 9)):
        monkeypatch.setattr(memory, "room", lambda device, reserve, room=room: room)
        found = run_short_of_memory(0)
        assert (found[0], found[2]) == (losses, 4 * 3 + recomputed)
        assert torch.equal(found[1], latent)


@pytest.mark.parametrize("stored", [0, None])
def test_blocks_are_checkpointed_before_memory_runs_out_where_a_call_cannot_fit(
    stored: int | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model()
    expected = sample(model, wrapped(settings=THREE, stored_calls=0), noise(1))
    (kept,) = set(learned_of(model.model).kept_bytes.values())
    for spare, checkpointed in ((1, False), (-1, True)):
        total = kept + model.model_size() + spare
        monkeypatch.setattr(comfy.model_management, "get_total_memory", lambda *_, total=total: total)
        caplog.clear()
        with caplog.at_level("INFO"):
            for own in (model, tiny_model()):  # one that is known, and one that is not
                latent = sample(own, wrapped(settings=THREE, stored_calls=stored), noise(1))
                assert torch.allclose(latent, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
                assert state(own)["forwards"] == []
        assert caplog.text.count("more than fits") == (2 if checkpointed else 0)
        assert "out of memory" not in caplog.text


@pytest.mark.parametrize("error", [out_of_memory(), WrittenLater("pretended")])
def test_running_out_in_a_model_call_or_in_backward(error: Exception) -> None:
    expected = sample(tiny_model(), wrapped(settings=THREE), noise(1))
    for fails_at in (2, 5, 8, 11):
        model, calls = tiny_model(), [0]
        apply_model = model.model.apply_model

        def failing(*args: Any, fails_at: int = fails_at, calls: list[int] = calls, run: Any = apply_model, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == fails_at:
                raise error
            return run(*args, **kwargs)

        model.model.apply_model = failing
        latent = sample(model, wrapped(settings=THREE, stored_calls=2), noise(1))  # call 4 is backward's, of the first
        assert torch.allclose(latent, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
        assert state(model)["forwards"] == []
    assert not comfy.model_management.in_training
