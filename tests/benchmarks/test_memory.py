"""The counter of live bytes against torch's profiler, which sees every allocation; and the prediction that is put together from counts."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sgool.benchmarks import memory
from sgool.benchmarks.__main__ import main
from sgool.benchmarks.common.live_bytes import attention_as_on_a_gpu, counted
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

NETWORKS = {
    "linear": lambda: nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.SiLU(), nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(2, (8, 8)), nn.Conv2d(1, 8, 1), nn.GroupNorm(4, 8), nn.SiLU(), nn.Upsample(scale_factor=2)
    ),
}


def backward(name: str, device: str) -> Any:
    network = NETWORKS[name]().to(device).requires_grad_(False)
    leaf = torch.randn(100, 1, 64, device=device, requires_grad=True)
    return lambda: torch.autograd.grad((network(leaf).sin() ** 2).sum(), leaf)[0]


def profiled(run: Callable[[], Any]) -> tuple[int, int]:
    """The most bytes that one call took at a time, and how many still live when it has returned, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = run()
        gc.collect()
    del kept
    events, todo = [], list(profile.profiler.kineto_results.experimental_event_tree())
    while todo:
        todo += (event := todo.pop()).children
        if event.typed[0] == torch._C._profiler._EventType.Allocation:
            events.append((event.start_time_ns, event.typed[1].ptr, event.typed[1].alloc_size))
    own, held, most = set[int](), 0, 0
    for _, address, size in sorted(events):
        if size > 0 or address in own:  # and not made before, by something else
            own.add(address)
            held += size
            most = max(most, held)
    return most, held


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_what_the_profiler_counts_with_and_without_numbers(name: str) -> None:
    found = counted(backward(name, "cpu"))
    assert found == profiled(backward(name, "cpu"))
    assert found == counted(backward(name, "meta"))


def test_what_lives_after_a_forward_is_what_autograd_saves_and_the_result() -> None:
    network = NETWORKS["convolution"]().requires_grad_(False)
    weights = {each.untyped_storage().data_ptr() for each in network.parameters()}
    leaf = torch.randn(100, 1, 64, requires_grad=True)
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        result = network(leaf)
    outside = weights | {leaf.untyped_storage().data_ptr(), result.untyped_storage().data_ptr()}
    expected = result.untyped_storage().nbytes() + sum(size for place, size in saved.items() if place not in outside)
    assert counted(lambda: network(leaf))[1] == expected


@pytest.mark.parametrize("head", [40, 512])
def test_attention_on_no_device_keeps_no_matrix_of_all_pairs(head: int) -> None:
    own = torch.nn.functional.scaled_dot_product_attention
    query = torch.empty(1, 2, 4096, head, dtype=torch.float16, device="meta", requires_grad=True)
    _, kept = counted(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query))
    assert query.nbytes <= kept < 2 * query.nbytes < 2 * 2 * 4096 * 4096
    with attention_as_on_a_gpu():
        mask = torch.zeros(4096, 4096, dtype=torch.float16, device="meta")
        assert torch.nn.functional.scaled_dot_product_attention(query, query, query, mask).shape == query.shape
    assert torch.nn.functional.scaled_dot_product_attention is own


@pytest.mark.slow
@pytest.mark.comfyui
def test_a_small_model_takes_less_by_each_step_of_the_ladder_and_no_more_with_more_steps() -> None:
    from sgool.benchmarks.common.counted_parts import gradient, meta_model, network_bytes

    found = network_bytes("SD 1.5", "fp16", True, small=True)
    assert 0 < found["block"] < found["call"] < 1.1 * found["stored"]
    assert found["kept"] < found["stored"]
    peaks = {}
    for steps in (1, 4):
        for stored in (True, False):

            def action(make: Any, noise: Tensor, stored: bool = stored) -> int:
                return counted(lambda: gradient(make(use_checkpoint=not stored), noise, torch.ones_like(noise)))[0]

            peaks[steps, stored] = meta_model("SD 1.5", "fp16", small=True)[1](action, steps, True)
    assert peaks[4, True] == pytest.approx(peaks[1, True] + 3 * found["kept"], rel=0.02)
    assert peaks[4, False] < 1.02 * peaks[1, False] + 3 * 2**17  # a few latents


@pytest.mark.slow
@pytest.mark.comfyui
def test_a_decoder_of_real_size_takes_less_with_its_blocks_checkpointed() -> None:
    from sgool.benchmarks.common.counted_parts import judge_bytes

    judge = judge_bytes("SD 1.5", "bf16")
    assert judge["decode, blocks"] < 0.6 * judge["decode"]  # the decoder's blocks are checkpointed one by one, not the decoder as a whole


def test_cards_get_the_first_way_that_fits() -> None:
    found = dict(zip(memory.PARTS, (4.0, 2.0, 2.5, 2.5, 1.0, 1.0, 3.0, 1.5), strict=True))
    assert memory.stored(found, 4) == 4 + max(3 * 2 + 2.5, 1 + 8 + 3)
    assert memory.settings(found, 80) == "30 calls stored"
    assert memory.settings(found, 17) == "4 calls stored"
    assert memory.settings(found, 9) == "each call checkpointed"
    assert memory.settings(found, 7.6) == "each block checkpointed"
    assert memory.settings(found, 6) == "each block checkpointed, weights moved"
    assert memory.settings(found, 1.5) == "does not fit"


@pytest.mark.comfyui
def test_a_model_that_was_counted_is_not_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = dict.fromkeys(memory.PARTS, 1.0)
    monkeypatch.setattr(memory, "measure", lambda _: parts)
    main(command := ["memory", "--folder", str(tmp_path), "--only", "SDXL"])
    monkeypatch.delattr(memory, "measure")
    main(command)
    assert "not measured on a card" in capsys.readouterr().out
    assert (tmp_path / "memory.csv").read_text().splitlines()[1].startswith("SDXL,1.0")
