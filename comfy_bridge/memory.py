"""ComfyUI's memory management, as a run with gradients needs it. Everything is put back when the context ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import comfy.model_management
import torch

from . import differentiable_kernels, quantized  # noqa: F401  (gradients need what the first one registers)

# Core estimates the memory of a forward pass. A checkpointed call also keeps activations until its backward is done; these factors times
# core's estimate is what that takes. Measured on SD 1.5's UNet at 64 x 64 latents in float32, where core estimates 0.17 GB: 1.6 GB of
# activations, and 0.4 GB with each block checkpointed as well.
CALL_RATIO = 10.0
BLOCK_RATIO = 3.0
# What stored activations may take of the free memory: fragments of it can not be used, and other programs share the processor's.
DEVICE_SHARE, SHARED_MEMORY_SHARE = 0.9, 0.5
# torch has an exception for a GPU's memory alone. What its allocators for Macs and processors say: MPSAllocator.mm, alloc_cpu.cpp.
_RAN_OUT = ("MPS backend out of memory", "DefaultCPUAllocator: ")


def ran_out(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out: a GPU's, by core's own test, a Mac's, or the processor's."""
    if comfy.model_management.is_oom(error) or isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _RAN_OUT)


@contextlib.contextmanager
def gradient_settings(patcher: Any) -> Iterator[None]:
    """ComfyUI's global switches as backward needs them.

    - ``in_training``: models leave their fused in-place kernels, which have no backward.
    - No asynchronous offloading: its cast buffers are used again before backward has read them.
    - ``patcher.get_free_memory`` answers the same throughout: core decides by it whether conditionings share a batch, and a call that
      is recomputed has to decide as it did before. A smaller answer, since backward needs several times what core estimates.
    """
    management = comfy.model_management
    training, streams = management.in_training, management.NUM_STREAMS
    try:
        management.in_training = True
        management.NUM_STREAMS = 0
        with _constant_free_memory(patcher), quantized.differentiable_layers():
            yield
    finally:
        management.in_training = training
        management.NUM_STREAMS = streams


def one_at_a_time(patcher: Any) -> contextlib.AbstractContextManager[None]:
    """Have core run conditionings one after another, by telling it that no memory is free. Within :func:`gradient_settings`."""
    return _constant_free_memory(patcher, nothing=True)


def room(device: torch.device, reserve: float) -> float:
    """Bytes of ``device`` that may be filled at once, with ``reserve`` left free.

    Of a processor's memory at most half, since other programs live in it as well and nobody says when it is used up.
    """
    share = DEVICE_SHARE if device.type not in ("cpu", "mps") else SHARED_MEMORY_SHARE
    return max(0.0, share * float(comfy.model_management.get_free_memory(device)) - reserve)


def never_fits(size: float, models: Sequence[Any], device: torch.device) -> bool:
    """Whether so many bytes do not fit beside the weights of ``models`` on ``device``, though everything else were moved away from it."""
    weights = sum(float(model.model_size()) for model in models if hasattr(model, "model_size"))
    return size + weights > float(comfy.model_management.get_total_memory(device))


@contextlib.contextmanager
def _constant_free_memory(patcher: Any, nothing: bool = False) -> Iterator[None]:
    if not hasattr(patcher, "get_free_memory"):
        yield
        return
    own = patcher.__dict__
    before = own.get("get_free_memory")
    answers: dict[Any, float] = {}
    ask = patcher.get_free_memory

    def get_free_memory(device: torch.device) -> float:
        if device not in answers:
            answers[device] = 0.0 if nothing else ask(device) / CALL_RATIO
        return answers[device]

    try:
        own["get_free_memory"] = get_free_memory
        yield
    finally:
        if before is None:
            del own["get_free_memory"]
        else:
            own["get_free_memory"] = before


def load(models: Sequence[Any], memory_required: float, as_inference: bool) -> None:
    """Bring ``models`` (ModelPatchers) onto their devices with ``memory_required`` bytes to spare.

    ``as_inference``: whether weights are moved and patched inside inference mode, as when they were loaded; an inference tensor may not be
    written to outside.
    """
    with torch.inference_mode(as_inference), torch.no_grad():
        comfy.model_management.load_models_gpu(list(models), memory_required=memory_required)


def how_many_loaded(models: Sequence[Any]) -> int:
    """How many of ``models`` ComfyUI has on their devices now: another node's wish for memory may have sent one away, patches and all."""
    present = comfy.model_management.loaded_models()
    return sum(any(model is each for each in present) for model in models)


def load_own(patchers: Sequence[Any], memory_required: float) -> None:
    """:func:`load` for the pack's own models, which may be asked for in any mode.

    Inference tensors may only be written to in inference mode, and weights may have become ones when another node had them moved. The
    caller's mode for gradients has no business with moving weights.
    """
    inference = any(parameter.is_inference() for patcher in patchers for parameter in patcher.model.parameters())
    with torch._C.DisableTorchFunction():
        load(patchers, memory_required, inference)


def estimate(model: Any, shape: Sequence[int], fine: bool) -> float:
    """Bytes to keep free for backward through one call of ``model`` (a BaseModel) on latents of ``shape``; 0 if it gives no estimate."""
    required = getattr(model, "memory_required", None)
    if required is None:
        return 0.0
    doubled = [2 * shape[0], *shape[1:]]  # conditional and unconditional in one batch, as core reckons
    return float(required(doubled)) * (BLOCK_RATIO if fine else CALL_RATIO)
