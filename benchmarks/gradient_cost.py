"""What a gradient through sampling costs: model calls, memory and time, in one run. Prints a table.

    python run.py bench gradient_cost [--size 16] [--channels 64] [--steps 6]

Memory is the most bytes of tensors alive at once, weights left out.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
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
from .common.measuring import Cost, cost, sampled
from .common.optimizer import JacobianSchedule

VARIANTS: dict[str, dict[str, Any]] = {
    "everything kept": {"use_checkpoint": False},
    "last three calls stored": {"stored": StoredCalls(3, lambda: 0.0)},
    "each call checkpointed": {},
    "each call and each block": {},
    "last call only": {"schedule": JacobianSchedule("last", 1)},
    "every second call": {"schedule": JacobianSchedule("every", 2)},
}


def rows(make: Callable[..., NoiseToLatent], noise: Tensor, network: torch.nn.Module, repeats: int) -> list[list[object]]:
    """Plain sampling, then a gradient by each variant."""

    def measured(run: Callable[[NoiseToLatent], Any], arguments: dict[str, Any]) -> tuple[int, Cost]:
        calls = itertools.count()
        run(make(before_call=lambda: next(calls), **arguments))
        return next(calls), cost(lambda: run(make(**arguments)), noise.device, repeats)

    def gradient(run: NoiseToLatent) -> None:
        leaf = noise.clone().requires_grad_()
        torch.autograd.grad(run(leaf).sum(), leaf)

    found = {"plain sampling": measured(lambda run: run(noise), {})}
    for name, arguments in VARIANTS.items():
        with checkpointed_blocks(network) if name.endswith("block") else contextlib.nullcontext():
            found[name] = measured(gradient, arguments)
    unit = found["plain sampling"][1].seconds
    return [[name, calls, f"{spent.bytes / 1e6:.1f}", f"{spent.seconds / unit:.2f}"] for name, (calls, spent) in found.items()]


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
        noise = torch.randn((1, 4, options.size, options.size), generator=torch.Generator().manual_seed(0))
        parameters = sum(parameter.numel() for parameter in model.model.parameters()) / 1e6
        print(f"UNet of {parameters:.1f} M weights, latent {(*noise.shape,)}, {options.sampler}, {options.steps} steps, CFG\n")
        probe = Probe(lambda make, noise: rows(make, noise, model.model.diffusion_model, options.repeats), options.sampler)
        conditions = tiny_models.conditioning(1, 77), tiny_models.conditioning(2, 77)
        sampled(model, probe, noise, conditions, {"steps": options.steps, "cfg": 5.0})
    print(table(["gradient through", "model forwards", "most alive (MB)", "time / plain"], probe.found))


if __name__ == "__main__":
    main()
