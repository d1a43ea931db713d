"""Cheaper gradients that say what they are: what each costs, how nearly it is the exact one, and what it comes to in equal time.

    python run.py bench cheaper_gradients                    some minutes on one core; again: what is missing
    python run.py bench cheaper_gradients --prompts 40 --write           docs/data/cheaper-gradients.csv

On the demo model (8 steps, CFG 3): the cosine to the exact gradient of the reward in the noise, mean over the prompts; then whole runs with
as many iterations as ten exact ones pay for. On a flow model (SD 3's network, narrow, random weights, 8 steps, CFG 4), whose images say
nothing: the cosine of random sums of the latent, and how near such runs come to the latent of another noise. F is one forward of a model
call, conditional and unconditional together; calls are recomputed in backward, so a call with gradient costs three, or two where its
unconditional half has none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.vae import decode_with_grad
from sgool.harness.pack import ROOT
from sgool.latent_optimization.autograd_mode import gradients
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.optimize import Result, optimize
from sgool.latent_optimization.stored_calls import StoredCalls
from sgool.tests.comfyui.families.building import conditioning
from torch import Tensor

from .common.jobs import Job, Record, Store, plan
from .common.markdown import tell
from .common.measuring import probed
from .common.real_sizes import family_of, noise_for, real_model
from .common.spread import add_options as add_processes
from .common.spread import spread
from .common.statistics import mean_and_error
from .worth.demo_model import Demo, DemoOwner, weights_mark
from .worth.methods import CFG, ITERATIONS, STEPS, Method, gradient
from .worth.prompts import chunks

FEWER = STEPS // 2
EXACT = "all calls"
DATA = ROOT / "docs" / "data" / "cheaper-gradients.csv"
FLOW, FLOW_CFG, SUMS = "SD 3.5 medium", 4.0, 8
LENGTHS = 0.03, 0.1, 0.3  # of steps on the flow model
Numbers = dict[str, list[float]]  # by way
HEAD = ["gradient through", "F an iteration", "calls stored", "cosine", "cosine, flow model"]
HEAD += ["iterations", "similarity", "to all calls'", "right, %", "distance left, flow model"]


@dataclass(frozen=True)
class Way:
    """A gradient: which calls carry it, of how many steps; ``early``: only in the first half of the time, and then the exact one."""

    schedule: JacobianSchedule = field(default_factory=JacobianSchedule)
    steps: int = STEPS
    early: bool = False

    def cost(self, stored: bool = False) -> float:
        """Of an iteration in F, decoder and reward left out: a forward of each call, then as much again for what is differentiated of it,
        and for what is recomputed."""
        carried = sum(self.schedule.carries(index, self.steps) for index in range(self.steps))
        return self.steps + carried * (1 if stored else 2) * (0.5 if self.schedule.choice == "conditional" else 1.0)

    def iterations(self) -> int:
        """As many as cost what ``ITERATIONS`` exact ones do, or half of that."""
        return round(ITERATIONS * Way().cost() / self.cost() / (2 if self.early else 1))


WAYS = {
    EXACT: Way(),
    "the last call": Way(JacobianSchedule("last", 1)),
    "the last 2 calls": Way(JacobianSchedule("last", 2)),
    "the last 4 calls": Way(JacobianSchedule("last", 4)),
    "every second call": Way(JacobianSchedule("every", 2)),
    "every fourth call": Way(JacobianSchedule("every", 4)),
    "the conditional half of all calls": Way(JacobianSchedule("conditional")),
    f"all calls of {FEWER} steps, then of {STEPS}": Way(steps=FEWER, early=True),
}


def methods_of(way: Way, length: float = 0.03, **changes: Any) -> list[Method]:
    """The runs, one after another: each goes on from the noise of the one before. ``changes``: of the optimizer's settings."""
    first = gradient(length, calls=way.schedule, iterations=way.iterations(), **changes)
    if not way.early:
        return [first]
    return [replace(first, steps=way.steps), gradient(length, iterations=ITERATIONS // 2, **changes)]


def pulled(make: Callable[..., NoiseToLatent], noise: Tensor, way: Way, incoming: Callable[[Tensor], Tensor]) -> Tensor:
    """The gradient in the noise (B, ...), by one way, of what has the gradient ``incoming(latent)``."""
    leaf = noise.clone().requires_grad_()
    latent = run_of(make, way.schedule)(leaf)
    return torch.autograd.grad(latent, leaf, incoming(latent.detach()))[0]


def run_of(make: Callable[..., NoiseToLatent], schedule: JacobianSchedule) -> NoiseToLatent:
    """The sampler, all of whose calls are stored."""
    return make(schedule=schedule, stored=StoredCalls(STEPS, lambda: 0.0))


def cosines(model: Any, noise: Tensor, conditions: Any, options: dict[str, Any], incoming: Callable[[Tensor], Tensor]) -> Numbers:
    """Of each way's gradient in the noise to the exact one, image by image; ``options`` as :func:`sampled` takes them."""
    found: dict[str, Tensor] = {}
    for steps in (STEPS, FEWER):
        ways = {name: way for name, way in WAYS.items() if way.steps == steps}

        def action(make: Callable[..., NoiseToLatent], x: Tensor, ways: dict[str, Way] = ways) -> dict[str, Tensor]:
            return {name: pulled(make, x, way, incoming) for name, way in ways.items()}

        found |= probed(model, action, noise, conditions, {**options, "steps": steps})
    exact = found[EXACT].flatten(1)
    return {name: torch.cosine_similarity(each.flatten(1), exact).tolist() for name, each in found.items()}


def demo_cosines(demo: Demo, prompts: Sequence[str]) -> Numbers:
    """On the demo model, of its reward."""

    def incoming(latent: Tensor) -> Tensor:
        own = latent.clone().requires_grad_()
        with gradients():
            images = decode_with_grad(demo.vae, demo.model.model.process_latent_out(own), True)
            return torch.autograd.grad(demo.reward(images, list(prompts)).sum(), own)[0]

    return cosines(demo.model, demo.noise(prompts, 0), (demo.encode(prompts), demo.negative), {"cfg": CFG}, incoming)


def like(x: Tensor, seed: int) -> Tensor:
    """Random numbers of that shape."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


@cache
def flow() -> tuple[Any, Tensor, Any, dict[str, Any]]:
    """The flow model, some noise, conditions, and options of :func:`sampled`."""
    model, family = real_model(FLOW, "fp32", torch.device("cpu"), small=True), family_of(FLOW, small=True)
    noise = like(noise_for(FLOW, model, 1, small=True).expand(SUMS, -1, -1, -1), 0)
    return model, noise, (conditioning(family, 1), conditioning(family, 2)), {"cfg": FLOW_CFG, "scheduler": "simple", "steps": STEPS}


def flow_distances() -> Numbers:
    """Squared distance of each latent to the one that another noise makes, over that at the start: the least that each way comes to in
    equal time, with the step length that suits it best."""
    model, start, conditions, options = flow()

    def within(steps: int, action: Callable[[Callable[..., NoiseToLatent]], Any]) -> Any:
        return probed(model, lambda make, _: action(make), start, conditions, {**options, "steps": steps})

    target, begun = within(STEPS, lambda make: (make().plain(like(start, 2)), make().plain(start)))
    at_start = _squares(begun - target)

    def evaluate(latent: Tensor, index: int, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return _squares(latent - target[index]) / at_start[index], {}

    def optimized(noise: Tensor, method: Method) -> Result:
        preset = method.preset
        return within(method.steps, lambda make: optimize(noise, run_of(make, preset.jacobian), evaluate, preset.settings))

    def left(way: Way, length: float) -> list[float]:
        noise = start
        for method in methods_of(way, length, returned="best"):
            result = optimized(noise, method)
            noise = result.noise
        return (_squares(result.latent - target) / at_start).tolist()

    return {name: min((left(way, length) for length in LENGTHS), key=sum) for name, way in WAYS.items()}


def _squares(difference: Tensor) -> Tensor:
    """The mean square of each image's ``difference (B, ...)``."""
    return (difference**2).flatten(1).mean(1)


def measured(demo: Demo, job: Job) -> Record:
    """What whole runs of a job's way come to: for each prompt the similarity, and whether the judge finds the image right."""
    *earlier, last = next(methods for way in WAYS.values() if mark_of(methods := methods_of(way)) == job.method)
    noise = demo.noise(job.prompts, 0)
    for method in earlier:
        noise = demo.optimized(method, job.prompts, job.seed, noise)[1].noise
    return {"rows": demo.run(last, job.prompts, job.seed, noise)[0]}


def rows_of(found: dict[str, list[dict[str, Any]]], cosine: Numbers, flow_cosine: Numbers, distance: Numbers) -> list[list[Any]]:
    """The table."""
    rows, exact = [], [row["similarity"] for row in found.get(EXACT, [])]
    for name, own in found.items():
        if not own:
            continue
        way, similar = WAYS[name], [row["similarity"] for row in own]
        several = f"{way.iterations()} + {ITERATIONS // 2}" if way.early else way.iterations()
        apart = "" if name == EXACT else mean_and_error(np.subtract(similar, exact), "+.4f")
        means = [f"{np.mean(each[name]):.3f}" for each in (cosine, flow_cosine)]
        right = 100 * np.mean([row["right"] for row in own])
        costs = [f"{way.cost(stored):g}" for stored in (False, True)]
        about = [name, *costs, *means, several, f"{np.mean(similar):.4f}", apart, f"{right:.0f}"]
        rows.append([*about, mean_and_error(distance[name])])
    return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=int, default=20, help="in tens")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "cheaper-gradients")
    parser.add_argument("--write", action="store_true", help=f"write docs/data/{DATA.name}")
    add_processes(parser)


def main(options: argparse.Namespace) -> None:
    """Run what is missing, then tell."""
    store, own = Store(options.folder.absolute(), {"weights": weights_mark()}), chunks("tune", options.prompts)
    jobs = {name: plan(own, 1, [mark_of(methods_of(way))]) for name, way in WAYS.items()}
    every = [job for each in jobs.values() for job in each]
    spread(store, every, DemoOwner(measured, options.folder), options.processes, options.scheduler)
    demo = Demo(options.folder)
    by_chunk = [demo_cosines(demo, chunk) for chunk in own]
    cosine = {name: [value for found in by_chunk for value in found[name]] for name in WAYS}
    found = {name: [row for record in store.of(each) for row in record["rows"]] for name, each in jobs.items()}
    rows = rows_of(found, cosine, cosines(*flow(), lambda x: like(x, 1)), flow_distances())  # of random sums of the latent
    tell(HEAD, rows, DATA if options.write else None)


def mark_of(methods: Sequence[Method]) -> str:
    """Changes with anything that changes what they come to."""
    return "-".join(method.fingerprint() for method in methods)
