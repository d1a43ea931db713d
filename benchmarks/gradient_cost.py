"""What a gradient through sampling costs: model calls, memory and time, in one run, on a tiny network. Real sizes are ``bench gpu``'s.

    python run.py bench gradient_cost [--steps 6]

Memory is the most bytes of tensors alive at once, weights left out.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule, checkpointed_blocks
from sgool.latent_optimization.stored_calls import StoredCalls
from sgool.tests.comfyui import tiny_models
from sgool.tests.comfyui.guided import Probe
from torch import Tensor

from .common.markdown import table
from .common.measuring import cost, sampled

VARIANTS: dict[str, dict[str, Any]] = {
    "plain sampling": {},
    "everything kept": {"use_checkpoint": False},
    "last three calls stored": {"stored": StoredCalls(3, lambda: 0.0)},
    "each call checkpointed": {},
    "each call and each block": {},
    "last call only": {"schedule": JacobianSchedule("last", 1)},
    "every second call": {"schedule": JacobianSchedule("every", 2)},
}


def rows(network: torch.nn.Module, repeats: int, make: Callable[..., NoiseToLatent], noise: Tensor) -> list[list[object]]:
    """Plain sampling, then a gradient by each variant."""

    def once(plain: bool, **options: Any) -> None:
        leaf = noise.clone().requires_grad_(not plain)
        found = make(**options)(leaf)
        if not plain:
            torch.autograd.grad(found.sum(), leaf)

    cells, unit = [], 0.0
    for name, options in VARIANTS.items():
        with checkpointed_blocks(network) if name.endswith("block") else contextlib.nullcontext():
            calls, plain = itertools.count(), name == "plain sampling"
            once(plain, before_call=partial(next, calls), **options)
            spent = cost(partial(once, plain, **options), noise.device, repeats)
        unit = unit or spent.seconds
        cells.append([name, next(calls), f"{spent.bytes / 1e6:.1f}", f"{spent.seconds / unit:.2f}"])
    return cells


def main() -> None:
    """Sample once through ComfyUI's guider, with the measurement in the sampler's place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    tiny_models.UNET["model_channels"] = 64
    with torch.inference_mode():
        model = tiny_models.tiny_model("eps")
        noise = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(0))
        probe = Probe(partial(rows, model.model.diffusion_model, options.repeats))
        conditions = tiny_models.conditioning(1, 77), tiny_models.conditioning(2, 77)
        sampled(model, probe, noise, conditions, {"steps": options.steps, "cfg": 5.0})
    print(table(["gradient through", "model forwards", "most alive (MB)", "time / plain"], probe.found))


if __name__ == "__main__":
    main()
