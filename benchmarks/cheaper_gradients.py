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
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import comfy.samplers
import torch
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.comfy_bridge.vae import decode_with_grad
from sgool.demo.weights import WEIGHTS
from sgool.harness.pack import ROOT
from sgool.harness.problems import exit_with
from sgool.latent_optimization.autograd_mode import gradients
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.optimize import Result, optimize
from sgool.latent_optimization.stored_calls import StoredCalls
from sgool.tests.comfyui.families.building import conditioning
from sgool.tests.comfyui.guided import Probe
from torch import Tensor

from .common.jobs import Job, Store
from .common.markdown import table, write_csv
from .common.measuring import sampled
from .common.real_sizes import family_of, noise_for, real_model
from .is_it_worth_it import weights_mark
from .worth.methods import CFG, ITERATIONS, STEPS, Method, gradient
from .worth.prompts import chunks
from .worth.worker import Demo

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
    latent = make(schedule=way.schedule, stored=StoredCalls(STEPS, lambda: 0.0))(leaf)
    return torch.autograd.grad(latent, leaf, incoming(latent.detach()))[0]


def gradients_by(model: Any, noise: Tensor, given: dict[str, Any], incoming: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Each way's gradient in the noise; ``given``: ``conditions`` and options of :func:`sampled`."""
    options = dict(given)
    conditions = options.pop("conditions")
    found: dict[str, Tensor] = {}
    for steps in (STEPS, FEWER):
        ways = {name: way for name, way in WAYS.items() if way.steps == steps}

        def action(make: Callable[..., NoiseToLatent], x: Tensor, ways: dict[str, Way] = ways) -> dict[str, Tensor]:
            return {name: pulled(make, x, way, incoming) for name, way in ways.items()}

        probe = Probe(action)
        sampled(model, probe, noise, conditions, {**options, "steps": steps})
        found |= probe.found
    return found


def cosines(found: dict[str, Tensor]) -> Numbers:
    """Of each way's gradient to the exact one, image by image."""
    exact = found[EXACT].flatten(1)
    return {name: torch.cosine_similarity(each.flatten(1), exact).tolist() for name, each in found.items()}


def demo_cosines(demo: Demo, prompts: Sequence[str]) -> Numbers:
    """On the demo model, of its reward."""

    def incoming(latent: Tensor) -> Tensor:
        own = latent.clone().requires_grad_()
        with gradients():
            images = decode_with_grad(demo.vae, demo.model.model.process_latent_out(own), True)
            return torch.autograd.grad(demo.reward(images, list(prompts)).sum(), own)[0]

    given = {"conditions": (demo.encode(prompts), demo.negative), "cfg": CFG}
    return cosines(gradients_by(demo.model, demo.noise(prompts, 0), given, incoming))


def like(x: Tensor, seed: int) -> Tensor:
    """Random numbers of that shape."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


@cache
def flow() -> tuple[Any, Tensor, dict[str, Any]]:
    """The flow model, some noise, and what else sampling takes."""
    model, family = real_model(FLOW, "fp32", torch.device("cpu"), small=True), family_of(FLOW, small=True)
    noise = like(noise_for(FLOW, model, 1, small=True).expand(SUMS, -1, -1, -1), 0)
    return model, noise, {"conditions": (conditioning(family, 1), conditioning(family, 2)), "cfg": FLOW_CFG, "scheduler": "simple"}


def flow_cosines() -> Numbers:
    """Of random sums of the latent."""
    return cosines(gradients_by(*flow(), lambda x: like(x, 1)))


def in_flow(steps: int, action: Callable[[Callable[..., NoiseToLatent], Tensor], Any]) -> Any:
    """What ``action(make, noise)`` finds in a run of so many steps of the flow model."""
    model, noise, given = flow()
    options = {**given, "steps": steps}
    probe = Probe(action)
    sampled(model, probe, noise, options.pop("conditions"), options)
    return probe.found


def flow_distances() -> Numbers:
    """Squared distance of each latent to the one that another noise makes, over that at the start: the least that each way comes to in
    equal time, with the step length that suits it best."""
    target, begun = in_flow(STEPS, lambda make, noise: (make().plain(like(noise, 2)), make().plain(noise)))
    at_start = _squares(begun - target)

    def evaluate(latent: Tensor, index: int, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return _squares(latent - target[index]) / at_start[index], {}

    def optimized(noise: Tensor, method: Method) -> Result:
        def action(make: Callable[..., NoiseToLatent], _: Tensor) -> Result:
            generate = make(schedule=method.preset.jacobian, stored=StoredCalls(STEPS, lambda: 0.0))
            return optimize(noise, generate, evaluate, method.preset.settings)

        return in_flow(method.steps, action)  # type: ignore[no-any-return]

    def left(way: Way, length: float) -> list[float]:
        noise = flow()[1]
        for method in methods_of(way, length, returned="best"):
            result = optimized(noise, method)
            noise = result.noise
        return (_squares(result.latent - target) / at_start).tolist()

    return {name: min((left(way, length) for length in LENGTHS), key=sum) for name, way in WAYS.items()}


def _squares(difference: Tensor) -> Tensor:
    """The mean square of each image's ``difference (B, ...)``."""
    return (difference**2).flatten(1).mean(1)


def reached(demo: Demo, way: Way, prompts: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """What whole runs of one way come to: for each prompt the similarity, and whether the judge finds the image right."""
    *earlier, last = methods_of(way)
    noise = demo.noise(prompts, 0)
    for method in earlier:
        sampler = SGOOLSampler(comfy.samplers.sampler_object(method.sampler), demo.objective(method, prompts), demo.vae, method.preset)
        demo.images(method, sampler, prompts, noise, seed)
        assert sampler.outcomes.last is not None
        noise = sampler.outcomes.last.noise
    return demo.run(last, prompts, seed, noise=noise)[0]


def measured(demo: Demo, way: Way, job: Job) -> dict[str, Any]:
    """A job's record."""
    return {"rows": reached(demo, way, job.prompts, job.seed)}


def rows_of(found: dict[str, list[dict[str, Any]]], cosine: Numbers, flow_cosine: Numbers, distance: Numbers) -> list[list[Any]]:
    """The table."""
    rows, exact = [], [row["similarity"] for row in found.get(EXACT, [])]
    for name, own in found.items():
        if not own:
            continue
        way, similar = WAYS[name], [row["similarity"] for row in own]
        several = f"{way.iterations()} + {ITERATIONS // 2}" if way.early else way.iterations()
        differences = [one - other for one, other in zip(similar, exact, strict=False)]
        apart = "" if name == EXACT else _mean_and_error(differences, "+.4f")
        means = [f"{statistics.mean(each[name]):.3f}" for each in (cosine, flow_cosine)]
        right = 100 * sum(row["right"] for row in own) / len(own)
        costs = [f"{way.cost(stored):g}" for stored in (False, True)]
        rows.append([name, *costs, *means, several, f"{statistics.mean(similar):.4f}", apart, f"{right:.0f}"])
        rows[-1].append(_mean_and_error(distance[name]))
    return rows


def _mean_and_error(values: Sequence[float], form: str = ".3f") -> str:
    """With twice its standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.mean(values):{form}} ± {2 * error:{form.lstrip('+')}}"


def main(arguments: list[str]) -> int:
    """Run what is missing, then tell."""
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="run.py bench cheaper_gradients", description=__doc__, formatter_class=form)
    parser.add_argument("--prompts", type=int, default=20, help="in tens")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "cheaper-gradients")
    parser.add_argument("--write", action="store_true", help=f"write docs/data/{DATA.name}")
    options = parser.parse_args(arguments)
    store, demo = Store(options.folder.absolute(), {"weights": weights_mark(WEIGHTS)}), Demo(options.folder)
    own = chunks("tune", options.prompts)
    jobs = {name: [Job(place, 0, chunk, _mark(way)) for place, chunk in enumerate(own)] for name, way in WAYS.items()}
    cosine = {name: list[float]() for name in WAYS}
    for chunk in own:
        for name, each in demo_cosines(demo, chunk).items():
            cosine[name] += each
    for place in range(len(own)):
        for name, way in WAYS.items():
            for job in store.missing(jobs[name][place : place + 1]):
                store.add(job, measured(demo, way, job))
                print(f"{name}: {len(job.prompts)} prompts", flush=True)
    found = {name: [row for record in store.of(each) for row in record["rows"]] for name, each in jobs.items()}
    rows = rows_of(found, cosine, flow_cosines(), flow_distances())
    print(table(HEAD, rows))
    if options.write:
        write_csv(DATA, HEAD, rows)
    return 0


def _mark(way: Way) -> str:
    return "-".join(method.fingerprint() for method in methods_of(way))


if __name__ == "__main__":
    exit_with(main, stopped="stopped; the same command goes on from here.")
