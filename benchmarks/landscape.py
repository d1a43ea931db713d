"""How far the gradient holds: what a step lowers the loss by, against what the gradient promised, on the demo model.

    python run.py bench landscape                     some minutes on one core: step lengths, and every preset's own steps
    python run.py bench landscape --prompts 10 --procedures 2 --write      with the papers' procedures; docs/data/landscape.csv

First one step along the gradient from a plain noise, of several lengths, at CFG 1 and 3; then every step that a preset really takes. Both
losses are of the same augmentations. The default preset also with shorter first steps. Resumable: what is in the folder already is not run
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from sgool.guidance.saliency_clip_loss import LossSettings
from sgool.harness.pack import ROOT
from sgool.latent_optimization.presets import DEFAULT_PRESET, PRESETS, Preset
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.trust_region import TrustRegion
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient

from .common.jobs import Job, Record, Store
from .common.markdown import tell
from .common.spread import add_options as add_processes
from .common.spread import spread
from .worth.demo_model import Demo, DemoOwner, weights_mark
from .worth.falls import HEAD, Falls, Step, steps_of, summary
from .worth.methods import PROCEDURES, Method, in_four_steps
from .worth.prompts import chunks

LENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
LOSS = LossSettings(w_salient=0.0)  # the nodes' own, without a saliency model
FIRST = 5  # of 50 iterations, which take long
BEGIN = f", first {FIRST} iterations"
DATA = ROOT / "docs" / "data" / "landscape.csv"


def methods() -> dict[str, Method]:
    """Single steps by length, and presets, at both guidance scales, and presets on the few-step model; the procedures have their own."""
    found = {}
    for cfg in (1.0, 3.0):
        for length in LENGTHS:
            settings = Settings(iterations=1, rule=NormalizedGradient(step_size=length, momentum=0.0))
            found[f"one step of {length:g}, CFG {cfg:g}"] = Method(Preset(settings), LOSS, cfg=cfg)
        for name, preset in PRESETS.items():
            if preset.procedure is None:
                called = f"{name}{'' if preset == shortened(preset) else BEGIN}"
                found[f"{called}, CFG {cfg:g}"] = Method(shortened(preset), LOSS, cfg=cfg)
                found[f"{called}, few-step model"] = in_four_steps(Method(shortened(preset), LOSS))
    return found | first_steps()


def first_steps() -> dict[str, Method]:
    """The default preset, whose trust region begins with shorter steps that may become ``longest`` times as long."""
    found, default = {}, PRESETS[DEFAULT_PRESET].settings
    for length, longest in ((0.003, 1.0), (0.002, 1.0), (0.001, 1.0), (0.001, 2.0), (0.001, 3.0), (0.001, 30.0)):
        region = replace(default.trust_region or TrustRegion(), longest=longest)
        settings = replace(default, rule=NormalizedGradient(step_size=length, momentum=0.0), trust_region=region)
        name = f"{DEFAULT_PRESET}, first step {length:g}, at most {length * longest:g}, CFG 3"
        found[name] = Method(Preset(settings), LOSS, cfg=3.0)
    return found


def shortened(preset: Preset) -> Preset:
    """The same, with no more than the first iterations of a long run."""
    long = preset.settings.iterations > 10
    return replace(preset, settings=replace(preset.settings, iterations=FIRST)) if long else preset


def procedures() -> dict[str, Method]:
    """The first iterations of the published procedures, as they are."""
    every = {name: PROCEDURES[f"{name}, the whole procedure"] for name in ("DOODL", "SGOOL")}
    return {f"{name}{BEGIN}": replace(method, preset=shortened(method.preset)) for name, method in every.items()}


def measured(methods: Mapping[str, Method], demo: Demo, job: Job) -> Record:
    """Every step of a job's method, one of ``methods`` by fingerprint, on its prompts."""
    method = methods[job.method]
    falls = Falls(demo.objective(method, job.prompts))
    objective = falls if method.preset.settings.trust_region is None else falls.inner
    _, outcome = demo.optimized(method, job.prompts, job.seed, demo.noise(job.prompts, 0), objective)
    steps = steps_of(outcome.history, falls.fallen)
    return {"steps": [asdict(step) for step in steps]}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=int, default=40, help="for everything but the procedures, in tens")
    parser.add_argument("--procedures", type=int, default=0, metavar="PROMPTS", help="prompts for the papers' procedures, at most 10")
    parser.add_argument("--only", default="", help="what has this in its name")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "landscape")
    parser.add_argument("--write", action="store_true", help=f"write docs/data/{DATA.name}")
    add_processes(parser)


def main(options: argparse.Namespace) -> None:
    """Run what is missing, then tell."""
    own, few = chunks("tune", options.prompts), chunks("tune", 10)[0][: options.procedures]
    every = {name: method for name, method in (methods() | (procedures() if few else {})).items() if options.only in name}
    places = {name: [(len(few), few)] if name in procedures() else list(enumerate(own)) for name in every}
    jobs = {name: [Job(place, 0, chunk, method.fingerprint()) for place, chunk in places[name]] for name, method in every.items()}
    store = Store(options.folder.absolute(), {"weights": weights_mark()})
    owner = DemoOwner(partial(measured, {method.fingerprint(): method for method in every.values()}), options.folder)
    spread(store, [job for each in jobs.values() for job in each], owner, options.processes, options.scheduler)
    found = {name: [Step(**step) for record in store.of(each) for step in record["steps"]] for name, each in jobs.items()}
    images = {name: sum(len(job.prompts) for job in each) for name, each in jobs.items()}
    rows = [[name, images[name], *summary(steps, images[name])] for name, steps in found.items()]
    tell(["what", "prompts", *HEAD], rows, DATA if options.write else None)
