"""What a gradient through sampling costs: model calls, memory and time, in one run. Prints a table.

    python run.py bench gradient_cost [--size 16] [--channels 64] [--steps 6] [--device cuda]

Memory is the most bytes of tensors alive at once, weights left out.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.latent_optimization.checkpointed_calls import checkpointed_blocks
from sgool.latent_optimization.stored_calls import StoredCalls
from sgool.tests.comfyui import tiny_models
from sgool.tests.comfyui.guided import Probe
from torch import Tensor

from .common.markdown import table
from .common.measuring import held_bytes, sampled, seconds
from .common.optimizer import JacobianSchedule

VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "everything kept": ({"use_checkpoint": False}, False),
    "last three calls stored": ({"stored": StoredCalls(3, lambda: 0.0)}, False),
    "each call checkpointed": ({}, False),
    "each call and each block": ({}, True),
    "last call only": ({"schedule": JacobianSchedule("last", 1)}, False),
    "every second call": ({"schedule": JacobianSchedule("every", 2)}, False),
}


def rows(make: Callable[..., NoiseToLatent], noise: Tensor, network: torch.nn.Module, options: argparse.Namespace) -> list[list[object]]:
    """Plain sampling, then a gradient by each variant."""

    def measured(run: Callable[[NoiseToLatent], Any], **arguments: Any) -> tuple[int, int, float]:
        calls = itertools.count()
        run(make(before_call=lambda: next(calls), **arguments))
        forwards = next(calls)
        most, _ = held_bytes(lambda: run(make(**arguments)), options.device)
        return forwards, most, statistics.median(seconds(lambda: run(make(**arguments)), options.device) for _ in range(options.repeats))

    def gradient(run: NoiseToLatent) -> None:
        leaf = noise.clone().requires_grad_()
        torch.autograd.grad(run(leaf).sum(), leaf)

    found = {"plain sampling": measured(lambda run: run(noise))}
    for name, (arguments, blocks) in VARIANTS.items():
        with checkpointed_blocks(network) if blocks else contextlib.nullcontext():
            found[name] = measured(gradient, **arguments)
    plain = found["plain sampling"][2]
    return [[name, forwards, f"{most / 1e6:.1f}", f"{time / plain:.2f}"] for name, (forwards, most, time) in found.items()]


def main() -> None:
    """Sample once through ComfyUI's guider, with the measurement in the sampler's place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=16, help="height and width of the latent")
    parser.add_argument("--channels", type=int, default=64, help="channels of the UNet's first level")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--sampler", default="euler")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    tiny_models.UNET["model_channels"] = options.channels
    with torch.inference_mode():
        model = tiny_models.tiny_model("eps")
        options.device = str(model.load_device)
        shape = (1, 4, options.size, options.size)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        parameters = sum(parameter.numel() for parameter in model.model.parameters()) / 1e6
        print(f"UNet of {parameters:.1f} M weights, latent {shape}, {options.sampler}, {options.steps} steps, CFG, {options.device}\n")
        probe = Probe(lambda make, noise: rows(make, noise, model.model.diffusion_model, options), options.sampler)
        conditions = tiny_models.conditioning(1, 77), tiny_models.conditioning(2, 77)
        sampled(model, probe, noise, conditions, {"steps": options.steps, "cfg": 5.0})
    print(table(["gradient through", "model forwards", "most alive (MB)", "time / plain"], probe.found))


if __name__ == "__main__":
    main()
