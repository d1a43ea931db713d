"""ComfyUI's samplers: how exact their gradients are; and the reversible ones: how exactly an image comes back, and how accurate they are.

python run.py bench samplers gradients [--only euler heun] [--csv docs/data/sampler-gradients.csv]
python run.py bench samplers accuracy | trips | half       of the reversible ones, on the demo model; half: with the model in float16
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.samplers
import comfy.utils
import torch
from sgool.comfy_bridge.inversion import invert
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.demo import render, scenes
from sgool.latent_optimization.reversible import BDIA, EDICT, OBELM, McCallumFoster, Solver
from sgool.tests.comfyui import analytic, guided, tiny_models
from torch import Tensor

from .common.markdown import tell
from .common.measuring import sampled, sigmas_of
from .worth.demo_model import Demo

KINDS = ("eps", "v", "flow")
HEAD = ["sampler", "eps", "flow", "model calls in 6 steps", "gradient", *(f"guided, {kind}" for kind in KINDS)]
Table = tuple[list[str], Sequence[Sequence[object]]]
SOLVERS: dict[str, Solver] = {
    "EDICT 0.93": EDICT(), "EDICT 0.97": EDICT(0.97), "BDIA 1.0": BDIA(), "BDIA 0.9": BDIA(0.9), "BDIA 0.5": BDIA(0.5), "O-BELM": OBELM(),
    "McCallum-Foster": McCallumFoster(),
}  # fmt: skip


class Reversible:
    """The reversible samplers on the demo model, and one image of its world with its caption."""

    def __init__(self) -> None:
        self.demo, scene = Demo(Path()), scenes.draw_scenes(1, 3)[0]
        self.conditions = self.demo.encode([scene.caption.text()]), self.demo.negative
        self.latent = self.demo.vae.encode(render.render(scene).reshape(1, 3, 64, 64).movedim(1, -1)).detach()
        self.noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))

    def sampled(self, sampler: Any, noise: Tensor, steps: int, **options: Any) -> Tensor:
        return sampled(self.demo.model, sampler, noise, self.conditions, {"steps": steps, **options})

    def round_trip(self, sampler: ReversibleSampler, steps: int) -> str:
        """Image to noise to image: the relative error, and the noise's standard deviation."""
        model, (positive, negative) = self.demo.model, self.conditions
        given = {"positive": positive, "negative": negative, "cfg": 1.0, "sigmas": sigmas_of(model, steps)}
        try:
            found = invert(model=model, sampler=sampler, latent=self.latent, **given)
            back = self.sampled(sampler.with_pair(found.pair), found.noise, steps, latent=self.latent)
        except ValueError:
            return "ran away"
        return f"{relative(back, self.latent):.0e} ({float(found.deviation[0]):.2f})"


def relative(found: Tensor, expected: Tensor) -> float:
    """Euclidean distance, over the length of what was expected."""
    return float((found - expected).norm() / expected.norm())


def grid(corner: str, rows: Mapping[str, Any], columns: Mapping[str, Any], cell: Callable[[Any, Any], str]) -> Table:
    """A table of what ``cell(row, column)`` says."""
    return [corner, *columns], [[name, *(cell(row, column) for column in columns.values())] for name, row in rows.items()]


def trips(reversible: Reversible, steps: Iterable[int] = (10, 50, 100)) -> Table:
    """Image to noise to image: the relative error, and the noise's standard deviation; by precision of the two states."""
    columns = {f"{states}, {n} steps": (states, n) for states, n in itertools.product(("float32", "float64"), steps)}
    return grid("solver", SOLVERS, columns, lambda solver, of: reversible.round_trip(ReversibleSampler(solver, of[0]), of[1]))


def half(reversible: Reversible, steps: Iterable[int] = (10, 50, 100)) -> Table:
    """Round trips of the model in float16."""
    model = reversible.demo.model.model
    network = model.diffusion_model.half()
    network.dtype, model.manual_cast_dtype = torch.float16, None
    return trips(reversible, steps)


def accuracy(reversible: Reversible, steps: Iterable[int] = (10, 20, 50)) -> Table:
    """How far each is from where 500 steps of euler arrive, from the same noise, at CFG 3."""
    euler = comfy.samplers.sampler_object("euler")
    reference = reversible.sampled(euler, reversible.noise, 500, cfg=3.0)

    def away(sampler: Any, n: int) -> str:
        return f"{relative(reversible.sampled(sampler, reversible.noise, n, cfg=3.0), reference):.3f}"

    compared = {"euler": euler, **{name: ReversibleSampler(solver) for name, solver in SOLVERS.items()}}
    return grid("sampler", compared, {f"{n} steps": n for n in steps}, away)


def gradients(name: str) -> list[object]:
    """Errors against central differences in float64, of a formula for a denoiser; then through ComfyUI's guider and UNet in float32."""
    errors, calls = [], 0
    noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for kind in ("eps", "flow"):
        with analytic.float64_by_default(name):
            run = analytic.run_of(name, kind)
            run(noise)
            calls = run.calls
            errors.append(analytic.relative_error(*analytic.directional(run, noise)))
    with torch.inference_mode():
        through = [guided.through_guider(tiny_models.tiny_model(kind), guided.error_along_gradient, name) for kind in KINDS]
    verdict = "exact" if max(errors) <= 1e-5 else "approximate"
    return [name, *(f"{error:.0e}" for error in errors), calls, verdict, *(f"{error:.0e}" for error in through)]


TABLES = {"accuracy": accuracy, "trips": trips, "half": half}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["gradients", *TABLES])
    parser.add_argument("--only", nargs="+", help="gradients of these samplers")
    parser.add_argument("--steps", type=int, nargs="+", help="of the others, if not as in docs/reversible.md")
    parser.add_argument("--csv", type=Path, help="write the table here as well")


def main(options: argparse.Namespace) -> None:
    """Measure, print, and write if asked to."""
    comfy.utils.PROGRESS_BAR_ENABLED = False
    if options.what == "gradients":
        found: Table = HEAD, [gradients(name) for name in options.only or comfy.samplers.SAMPLER_NAMES]
    else:
        found = TABLES[options.what](Reversible(), *([options.steps] if options.steps else []))
    tell(*found, options.csv)
