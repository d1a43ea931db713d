"""The reversible samplers on the demo model: round trips, gradients, memory and accuracy, beside checkpointing each call.

Prints the tables of docs/reversible.md.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import comfy.samplers
import torch
from sgool.comfy_bridge import reversible_samplers
from sgool.comfy_bridge.inversion import invert
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.demo import loader, render, scenes
from sgool.latent_optimization.reversible import BDIA, EDICT, OBELM, McCallumFoster, Solver, run
from sgool.tests.comfyui.guided import Probe
from torch import Tensor

from .common.markdown import table
from .common.measuring import held_bytes, sampled, seconds, sigmas_of

SOLVERS: dict[str, Solver] = {"EDICT 0.93": EDICT(), "BDIA 1.0": BDIA(), "O-BELM": OBELM(), "McCallum-Foster": McCallumFoster()}
OTHERS: dict[str, Solver] = {"EDICT 0.97": EDICT(0.97), "BDIA 0.9": BDIA(0.9), "BDIA 0.5": BDIA(0.5)}
PRECISIONS = ("float32", "float64")


class Demo:
    """The demo model, and one image of its world with its caption."""

    def __init__(self) -> None:
        self.model, clip, vae = loader.load_model(), loader.load_clip(), loader.load_vae()
        scene = scenes.draw_scenes(1, 3)[0]
        self.caption = scene.caption.text()
        self.conditions = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (self.caption, "")]
        self.latent = vae.encode(render.render(scene).reshape(1, 3, 64, 64).movedim(1, -1))
        self.noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))

    def sampled(self, sampler: Any, noise: Tensor, steps: int, **options: Any) -> Tensor:
        return sampled(self.model, sampler, noise, (self.conditions[0], self.conditions[1]), {"steps": steps, **options})

    def round_trip(self, sampler: ReversibleSampler, steps: int) -> str:
        """Image to noise to image: the relative error, and the noise's standard deviation."""
        given = {"positive": self.conditions[0], "negative": self.conditions[1], "cfg": 1.0, "sigmas": sigmas_of(self.model, steps)}
        try:
            found = invert(model=self.model, sampler=sampler, latent=self.latent, **given)
            back = self.sampled(sampler.with_pair(found.pair), found.noise, steps, latent=self.latent)
        except ValueError:
            return "ran away"
        return f"{relative(back, self.latent):.0e} ({float(found.deviation[0]):.2f})"

    def gradient(self, sampler: Any, steps: int, *, stored: bool = False) -> tuple[Tensor, int, float, int]:
        """Gradient of a fixed linear function of the latent; bytes kept between the two passes, seconds, model calls in all.

        ``stored``: of a reversible sampler, with each call checkpointed and the states kept.
        """
        weights = torch.randn(self.noise.shape, generator=torch.Generator().manual_seed(9))

        def action(make: Callable[..., NoiseToLatent], noise: Tensor) -> tuple[Tensor, int, float, int]:
            found: list[Tensor] = []
            calls, leaf = itertools.count(), noise.requires_grad_()
            _, kept = held_bytes(lambda: make()(leaf))
            whole = make(before_call=lambda: next(calls))
            spent = seconds(lambda: found.extend(torch.autograd.grad(whole(leaf), leaf, weights)))
            return found[0], kept, spent, next(calls)

        probe = Probe(action, sampler)
        own = (lambda plan, slope, start, **_: run(plan, slope, start)) if stored else reversible_samplers.run_reversibly
        with mock.patch.object(reversible_samplers, "run_reversibly", own):
            self.sampled(probe, self.noise, steps)
        return probe.found


def relative(found: Tensor, expected: Tensor) -> float:
    """Euclidean distance, over the length of what was expected."""
    return float((found - expected).norm() / expected.norm())


def by_solver(cell: Callable[[ReversibleSampler, int], str], solvers: dict[str, Solver], steps: Iterable[int]) -> str:
    """A table of a cell for each solver, precision of its states, and number of steps."""
    columns = list(itertools.product(PRECISIONS, steps))
    rows = [[name, *(cell(ReversibleSampler(solver, states), count) for states, count in columns)] for name, solver in solvers.items()]
    return table(["solver", *(f"{states}, {count} steps" for states, count in columns)], rows)


def trips(demo: Demo) -> str:
    """Image to noise to image: the relative error, and the noise's standard deviation."""
    return by_solver(demo.round_trip, {**SOLVERS, **OTHERS}, (10, 50, 100))


def half(demo: Demo) -> str:
    """Round trips of the model in float16, which it stays."""
    network = demo.model.model.diffusion_model.half()
    network.dtype, demo.model.model.manual_cast_dtype = torch.float16, None
    return by_solver(demo.round_trip, SOLVERS, (10, 50, 100))


def errors(demo: Demo) -> str:
    """Of the reversible backward, against the same solver with stored states."""

    def error(sampler: ReversibleSampler, steps: int) -> str:
        found, exact = (demo.gradient(sampler, steps, stored=stored)[0] for stored in (False, True))
        return f"{relative(found, exact):.0e}"

    return by_solver(error, SOLVERS, (10, 50))


def costs(demo: Demo) -> str:
    """Time, model calls and memory of one gradient."""
    compared: list[tuple[str, Any, bool]] = [("euler, each call checkpointed", comfy.samplers.sampler_object("euler"), False)]
    for words, stored in ((", each call checkpointed", True), (", reversible", False)):
        compared += [(name + words, ReversibleSampler(solver), stored) for name, solver in SOLVERS.items()]
    rows = []
    for name, sampler, stored in compared:
        (_, few, _, _), (_, many, spent, calls) = (demo.gradient(sampler, steps, stored=stored) for steps in (10, 50))
        rows.append([name, calls, f"{spent:.1f}", f"{few / 1024:.0f}", f"{many / 1024:.0f}"])
    return table(["sampler and backward", "calls", "CPU s", "kept, 10 steps (KiB)", "50 steps"], rows)


def accuracy(demo: Demo) -> str:
    """How far each is from where 500 steps of euler arrive, from the same noise."""
    euler = comfy.samplers.sampler_object("euler")
    reference = demo.sampled(euler, demo.noise, 500, cfg=3.0)
    compared = {"euler": euler, **{name: ReversibleSampler(solver) for name, solver in {**SOLVERS, "BDIA 0.5": BDIA(0.5)}.items()}}
    rows = [
        [name, *(f"{relative(demo.sampled(sampler, demo.noise, steps, cfg=3.0), reference):.3f}" for steps in (10, 20, 50))]
        for name, sampler in compared.items()
    ]
    return table(["sampler", "10 steps", "20 steps", "50 steps"], rows)


TABLES = {made.__name__: made for made in (errors, costs, accuracy, trips, half)}  # half last, since the model stays so


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TABLES, help="one table; 'half' is the round trips of the model in float16")
    options = parser.parse_args()
    demo = Demo()
    print(f"Image: {demo.caption}\n")
    for name in [options.only] if options.only else TABLES:
        print(f"{name}: {TABLES[name].__doc__}\n\n{TABLES[name](demo)}\n", flush=True)


if __name__ == "__main__":
    main()
