"""The reversible samplers on the demo model: how exactly an image comes back, and how accurate they are beside euler."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from typing import Any

import comfy.samplers
import torch
from sgool.comfy_bridge.inversion import invert
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.demo import loader, render, scenes
from sgool.latent_optimization.reversible import BDIA, EDICT, OBELM, McCallumFoster, Solver
from torch import Tensor

from .common.markdown import table
from .common.measuring import sampled, sigmas_of

SOLVERS: dict[str, Solver] = {
    "EDICT 0.93": EDICT(), "EDICT 0.97": EDICT(0.97), "BDIA 1.0": BDIA(), "BDIA 0.9": BDIA(0.9), "BDIA 0.5": BDIA(0.5), "O-BELM": OBELM(),
    "McCallum-Foster": McCallumFoster(),
}  # fmt: skip


class Demo:
    """The demo model, and one image of its world with its caption."""

    def __init__(self) -> None:
        self.model, clip, vae = loader.load_model(), loader.load_clip(), loader.load_vae()
        scene = scenes.draw_scenes(1, 3)[0]
        self.positive, self.negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (scene.caption.text(), ""))
        self.latent = vae.encode(render.render(scene).reshape(1, 3, 64, 64).movedim(1, -1))
        self.noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))

    def sampled(self, sampler: Any, noise: Tensor, steps: int, **options: Any) -> Tensor:
        return sampled(self.model, sampler, noise, (self.positive, self.negative), {"steps": steps, **options})

    def round_trip(self, sampler: ReversibleSampler, steps: int) -> str:
        """Image to noise to image: the relative error, and the noise's standard deviation."""
        given = {"positive": self.positive, "negative": self.negative, "cfg": 1.0, "sigmas": sigmas_of(self.model, steps)}
        try:
            found = invert(model=self.model, sampler=sampler, latent=self.latent, **given)
            back = self.sampled(sampler.with_pair(found.pair), found.noise, steps, latent=self.latent)
        except ValueError:
            return "ran away"
        return f"{relative(back, self.latent):.0e} ({float(found.deviation[0]):.2f})"


def relative(found: Tensor, expected: Tensor) -> float:
    """Euclidean distance, over the length of what was expected."""
    return float((found - expected).detach().norm() / expected.detach().norm())


def trips(demo: Demo, steps: Iterable[int]) -> str:
    """Image to noise to image: the relative error, and the noise's standard deviation; by precision of the two states."""
    columns = list(itertools.product(("float32", "float64"), steps))
    rows = [[name, *(demo.round_trip(ReversibleSampler(solver, states), n) for states, n in columns)] for name, solver in SOLVERS.items()]
    return table(["solver", *(f"{states}, {n} steps" for states, n in columns)], rows)


def half(demo: Demo, steps: Iterable[int]) -> str:
    """Round trips of the model in float16, which it stays."""
    network = demo.model.model.diffusion_model.half()
    network.dtype, demo.model.model.manual_cast_dtype = torch.float16, None
    return trips(demo, steps)


def accuracy(demo: Demo, steps: Iterable[int]) -> str:
    """How far each is from where 500 steps of euler arrive, from the same noise, at CFG 3."""
    euler, steps = comfy.samplers.sampler_object("euler"), list(steps)
    reference = demo.sampled(euler, demo.noise, 500, cfg=3.0)
    compared = {"euler": euler, **{name: ReversibleSampler(solver) for name, solver in SOLVERS.items()}}
    rows = [
        [name, *(f"{relative(demo.sampled(sampler, demo.noise, n, cfg=3.0), reference):.3f}" for n in steps)]
        for name, sampler in compared.items()
    ]
    return table(["sampler", *(f"{n} steps" for n in steps)], rows)


TABLES = {"accuracy": (accuracy, (10, 20, 50)), "trips": (trips, (10, 50, 100)), "half": (half, (10, 50, 100))}  # half last: it stays so


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TABLES, help="one table; 'half' is the round trips of the model in float16")
    parser.add_argument("--steps", type=int, nargs="+", help="others than docs/reversible.md has")
    options = parser.parse_args()
    demo = Demo()
    for name in [options.only] if options.only else TABLES:
        make, steps = TABLES[name]
        print(f"{name}: {make.__doc__}\n\n{make(demo, options.steps or steps)}\n", flush=True)


if __name__ == "__main__":
    main()
