"""What a gradient through sampling costs: model calls, memory and time, in one run. Prints a table.

    python benchmarks/gradient_cost.py [--size 16] [--channels 64] [--steps 6] [--device cuda]

Memory is the most bytes of tensors alive at once, weights left out, counted by watching every operation of forward and backward. It is
the same on every device, but for what an allocator or a kernel's workspace adds.
"""

from __future__ import annotations

import argparse
import contextlib
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import _environment as environment
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--size", type=int, default=16, help="height and width of the latent")
parser.add_argument("--channels", type=int, default=64, help="channels of the UNet's first level")
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--sampler", default="euler")
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
arguments = parser.parse_args()

environment.prepare(cpu=arguments.device == "cpu")

import comfy.samplers  # noqa: E402  (needs the environment)
import comfy.utils  # noqa: E402
from sgool.comfy_bridge import memory  # noqa: E402
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent  # noqa: E402
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule, checkpointed_blocks  # noqa: E402

tiny_models = environment.helper("tiny_models")


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, each storage once: what was made inside, weights and inputs left out."""

    def __init__(self, ours: list[torch.Tensor]) -> None:
        super().__init__()
        self.before = {tensor.untyped_storage().data_ptr() for tensor in ours}
        self.seen = WeakIdKeyDictionary()
        self.now = 0
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at what it made."""
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._note, result)
        return result

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self.seen or storage.data_ptr() in self.before:
            return
        self.seen[storage] = True
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, storage.nbytes())

    def _gone(self, size: int) -> None:
        self.now -= size


class Counting:
    """Counts model forwards, those that backward repeats included."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.count = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return self.function(*args, **kwargs)


def synchronize() -> None:
    """Wait for the device."""
    if arguments.device == "cuda":
        torch.cuda.synchronize()


def timed(action: Callable[[], Any]) -> float:
    """Median seconds of a few repeats: of the processor's time on a CPU, where others may be at work, else of the clock's."""
    clock = time.process_time if arguments.device == "cpu" else time.perf_counter
    times = []
    for _ in range(arguments.repeats):
        synchronize()
        began = clock()
        action()
        synchronize()
        times.append(clock() - began)
    return sorted(times)[len(times) // 2]


class Measure(comfy.samplers.Sampler):
    """Stands in a guider as its sampler and measures gradients through its real sampler."""

    def sample(  # noqa: PLR0917  (core's signature)
        self,
        model_wrap: Any,
        sigmas: Any,
        extra_args: Any,
        callback: Any,
        noise: Any,
        latent_image: Any,
        denoise_mask: Any,
        disable_pbar: Any,
    ) -> Any:
        """Print the table."""
        base = model_wrap.inner_model
        sampler = comfy.samplers.sampler_object(arguments.sampler)
        weights = list(base.parameters())
        counting = Counting(base.apply_model)
        base.apply_model = counting

        def run(**kwargs: Any) -> NoiseToLatent:
            return NoiseToLatent(sampler, model_wrap, sigmas, extra_args, latent_image, denoise_mask, **kwargs)

        plain_time = timed(lambda: run().plain(noise))
        counting.count = 0
        with LiveBytes([noise, *weights]) as live:
            run().plain(noise)
        print(f"{'':34}{'model forwards':>15}{'most alive (MB)':>17}{'time / plain':>14}")
        print(f"{'plain sampling':34}{counting.count:>15}{live.most / 1e6:>17.1f}{1.0:>14.2f}   ({plain_time:.2f} s)")
        variants: list[tuple[str, dict[str, Any], bool]] = [
            ("everything kept", {"use_checkpoint": False}, False),
            ("each call checkpointed", {}, False),
            ("each call and each block", {}, True),
            ("last call only", {"schedule": JacobianSchedule("last", 1)}, False),
            ("every second call", {"schedule": JacobianSchedule("every", 2)}, False),
        ]
        with memory.gradient_settings(model_wrap.model_patcher, fine=False), torch.inference_mode(False):
            for name, kwargs, blocks in variants:
                with checkpointed_blocks(base.diffusion_model) if blocks else contextlib.nullcontext():
                    forwards, most, seconds = self._measured(run(**kwargs), noise.clone(), counting, weights)
                print(f"{name:34}{forwards:>15}{most / 1e6:>17.1f}{seconds / plain_time:>14.2f}", flush=True)
        return noise

    @staticmethod
    def _measured(run: NoiseToLatent, noise: torch.Tensor, counting: Counting, weights: list[torch.Tensor]) -> tuple[int, int, float]:
        def gradient() -> None:
            leaf = noise.clone().requires_grad_()
            torch.autograd.grad(run(leaf).sum(), leaf)

        gradient()
        counting.count = 0
        with LiveBytes([noise, *weights]) as live:
            gradient()
        return counting.count, live.most, timed(gradient)


def main() -> None:
    """Sample once through ComfyUI's guider, with the measurement in the sampler's place."""
    warnings.simplefilter("ignore")
    comfy.utils.PROGRESS_BAR_ENABLED = False
    tiny_models.UNET["model_channels"] = arguments.channels
    with torch.inference_mode():
        model = tiny_models.tiny_model("eps")
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(tiny_models.conditioning(1, 77), tiny_models.conditioning(2, 77))
        guider.set_cfg(5.0)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", arguments.steps)
        shape = (1, 4, arguments.size, arguments.size)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        parameters = sum(parameter.numel() for parameter in model.model.parameters()) / 1e6
        print(f"UNet of {parameters:.1f} M weights, latent {shape}, {arguments.sampler}, {arguments.steps} steps, CFG, {arguments.device}")
        guider.sample(noise, torch.zeros(shape), Measure(), sigmas, seed=1)


if __name__ == "__main__":
    main()
