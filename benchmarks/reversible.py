"""The reversible samplers on the demo model: round trips, gradients, memory and accuracy, beside checkpointing each call.

Writes the tables of docs/reversible.md to standard output. ``--half`` adds the round trips of the model in float16, ``--images FILE``
draws an image inverted, returned and edited.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.samplers
import numpy as np
import torch
from PIL import Image
from sgool.comfy_bridge import memory, reversible_samplers
from sgool.comfy_bridge.inversion import invert
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.comfy_bridge.scorers import load_scorer
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.demo import loader, render, scenes
from sgool.guidance.saliency_clip_loss import SaliencyCLIPLoss
from sgool.latent_optimization.presets import Settings
from sgool.latent_optimization.reversible import BDIA, EDICT, OBELM, McCallumFoster, Solver, run
from torch import Tensor

SOLVERS: dict[str, Solver] = {"EDICT 0.93": EDICT(), "BDIA 1.0": BDIA(), "O-BELM": OBELM(), "McCallum-Foster": McCallumFoster()}
OTHERS: dict[str, Solver] = {"EDICT 0.97": EDICT(0.97), "BDIA 0.9": BDIA(0.9), "BDIA 0.5": BDIA(0.5)}
STEPS = (10, 50, 100)
FEWER = (10, 50)  # where it takes long
SCHEDULER = "normal"


class Demo:
    """The demo model, and one image of its world with its caption."""

    def __init__(self, seed: int = 3) -> None:
        self.model, self.clip, self.vae = loader.load_model(), loader.load_clip(), loader.load_vae()
        scene = scenes.draw_scenes(1, seed)[0]
        self.caption = scene.caption.text()
        self.image = render.render(scene).reshape(1, 3, 64, 64)
        self.positive, self.negative = self.encoded(self.caption), self.encoded("")
        self.latent = self.vae.encode(self.image.movedim(1, -1))

    def encoded(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def sigmas(self, steps: int) -> Tensor:
        return comfy.samplers.calculate_sigmas(self.model.get_model_object("model_sampling"), SCHEDULER, steps)

    def sampled(self, sampler: Any, noise: Tensor, steps: int, cfg: float = 1.0, latent: Tensor | None = None) -> Tensor:
        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(self.positive, self.negative)
        guider.set_cfg(cfg)
        latent = torch.zeros_like(noise) if latent is None else latent
        return guider.sample(noise, latent, sampler, self.sigmas(steps), disable_pbar=True, seed=0)

    def in_half(self) -> None:
        network = self.model.model.diffusion_model.half()
        network.dtype = torch.float16
        self.model.model.manual_cast_dtype = None

    def noise(self) -> Tensor:
        return torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def table(head: list[str], rows: list[list[str]]) -> None:
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |", flush=True)
    print(flush=True)


def round_trips(demo: Demo, precision: str, solvers: dict[str, Solver]) -> None:
    """Image to noise to image: the relative error, and the noise's standard deviation."""
    rows = [[name, *(round_trip(demo, ReversibleSampler(solver, precision), steps) for steps in STEPS)] for name, solver in solvers.items()]
    table(["solver", *(f"{steps} steps" for steps in STEPS)], rows)


def round_trip(demo: Demo, sampler: ReversibleSampler, steps: int) -> str:
    arguments = {"model": demo.model, "positive": demo.positive, "negative": demo.negative, "cfg": 1.0, "sigmas": demo.sigmas(steps)}
    try:
        found = invert(**arguments, sampler=sampler, latent=demo.latent)
        back = demo.sampled(sampler.with_pair(found.pair), found.noise, steps, latent=demo.latent)
    except ValueError:
        return "ran away"
    return f"{relative(back, demo.latent):.0e} ({float(found.deviation[0]):.2f})"


class Probe(comfy.samplers.Sampler):
    """Hands its run to a function instead of sampling."""

    def __init__(self, sampler: Any, action: Callable[[NoiseToLatent, Tensor], Any]) -> None:
        self.sampler, self.action = sampler, action

    def sample(self, model_wrap: Any, sigmas: Any, extra_args: Any, callback: Any, noise: Any, *rest: Any) -> Tensor:
        wrapped = NoiseToLatent(self.sampler, model_wrap, sigmas, extra_args, rest[0])
        with memory.gradient_settings(model_wrap.model_patcher, fine=False), torch.inference_mode(False):
            self.found = self.action(wrapped, noise.clone())
        return noise


def live_bytes() -> int:
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def gradient(wrapped: NoiseToLatent, noise: Tensor) -> tuple[Tensor, int, float, int]:
    """Of a fixed linear function of the latent; bytes kept between the two passes, seconds, model calls in all."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    wrapped.before_call = count
    leaf = noise.requires_grad_()
    weights = torch.randn(noise.shape, generator=torch.Generator().manual_seed(9))
    before, began = live_bytes(), time.process_time()
    latent = wrapped(leaf)
    spent = time.process_time() - began
    kept, began = live_bytes() - before, time.process_time()
    (found,) = torch.autograd.grad(latent, leaf, weights)
    return found, kept, spent + time.process_time() - began, calls


def measured(demo: Demo, sampler: Any, steps: int, *, stored: bool = False) -> tuple[Tensor, int, float, int]:
    """One gradient; ``stored``: of a reversible sampler, with each call checkpointed and the states kept."""
    own = reversible_samplers.run_reversibly
    if stored:
        reversible_samplers.run_reversibly = lambda plan, slope, start, **_: run(plan, slope, start)
    probe = Probe(sampler, gradient)
    try:
        demo.sampled(probe, demo.noise(), steps)
    finally:
        reversible_samplers.run_reversibly = own
    return probe.found


def gradient_errors(demo: Demo) -> None:
    """Of the reversible backward, against the same solver with stored states."""
    rows = []
    for name, solver in SOLVERS.items():
        row = [name]
        for precision in ("float32", "float64"):
            for steps in FEWER:
                sampler = ReversibleSampler(solver, precision)
                exact = measured(demo, sampler, steps, stored=True)[0]
                row.append(f"{relative(measured(demo, sampler, steps)[0], exact):.0e}")
        rows.append(row)
    table(["solver", *(f"{precision}, {steps}" for precision in ("float32", "float64") for steps in FEWER)], rows)


def costs(demo: Demo) -> None:
    """Time, model calls and memory of one gradient."""
    rows = []
    for name, sampler, stored in [
        ("euler, each call checkpointed", comfy.samplers.sampler_object("euler"), False),
        *((f"{name}, each call checkpointed", ReversibleSampler(solver), True) for name, solver in SOLVERS.items()),
        *((f"{name}, reversible", ReversibleSampler(solver), False) for name, solver in SOLVERS.items()),
    ]:
        found = [measured(demo, sampler, steps, stored=stored) for steps in FEWER]
        rows.append([name, str(found[1][3]), f"{found[1][2]:.1f}", *(f"{kept / 1024:.0f}" for _, kept, _, _ in found)])
    table(["sampler and backward", "calls", "CPU s", "kept, 10 steps (KiB)", "50 steps"], rows)


def accuracy(demo: Demo) -> None:
    """How far each is from where 500 steps of euler arrive, from the same noise."""
    euler = comfy.samplers.sampler_object("euler")
    reference = demo.sampled(euler, demo.noise(), 500, 3.0)
    rows = []
    for name, sampler in [
        ("euler", euler),
        *((name, ReversibleSampler(solver)) for name, solver in {**SOLVERS, "BDIA 0.5": BDIA(0.5)}.items()),
    ]:
        rows.append([name, *(f"{relative(demo.sampled(sampler, demo.noise(), steps, 3.0), reference):.3f}" for steps in (10, 20, 50))])
    table(["sampler", "10 steps", "20 steps", "50 steps"], rows)


def images(demo: Demo, file: Path, edit: str, photograph: Path | None) -> None:
    """A row for each image: given, through the autoencoder, inverted and returned, edited by an objective from there."""
    sampler, steps, rows = ReversibleSampler(EDICT()), 20, []
    given = [demo.image]
    if photograph is not None:
        square = Image.open(photograph).convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)
        given.append(torch.from_numpy(np.asarray(square).copy()).movedim(-1, 0)[None] / 255)
    objective = SaliencyCLIPLoss(load_scorer(loader.scorer_folder()), [edit])
    for image in given:
        latent = demo.vae.encode(image.movedim(1, -1))
        arguments = {"model": demo.model, "positive": demo.positive, "negative": demo.negative, "cfg": 1.0, "sigmas": demo.sigmas(steps)}
        found = invert(**arguments, sampler=sampler, latent=latent)
        own = sampler.with_pair(found.pair)
        back = demo.sampled(own, found.noise, steps, latent=latent)
        outer = SGOOLSampler(own, objective, demo.vae, Settings(iterations=10))
        edited = demo.sampled(outer, found.noise, steps, latent=latent)
        losses = [row.loss[0] for row in outer.outcome.history.rows] if outer.outcome is not None else []
        print(f"{found.to_text()}\nlatent returned to {relative(back, latent):.0e}; loss {losses[0]:.3f} -> {losses[-1]:.3f}", flush=True)
        decoded = [demo.vae.decode(x).movedim(-1, 1) for x in (latent, back, edited)]
        rows.append(torch.cat([image, *decoded], dim=-1))
    sheet = (torch.cat(rows, dim=-2)[0].movedim(0, -1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    drawn = Image.fromarray(sheet)
    drawn.resize((drawn.width * 3, drawn.height * 3), Image.Resampling.NEAREST).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", action="store_true", help="round trips of the model in float16 as well")
    parser.add_argument("--only", choices=("trips", "half", "errors", "costs", "accuracy"), help="'half' is the model in float16 alone")
    parser.add_argument("--images", type=Path, help="draw instead of measuring")
    parser.add_argument(
        "--edit", default="a small green circle and a pink triangle and a small orange cross", help="what the edit is to show"
    )
    parser.add_argument("--photograph", type=Path, help="a second row, of this image")
    options = parser.parse_args()
    demo = Demo()
    if options.images is not None:
        images(demo, options.images, options.edit, options.photograph)
        return
    wanted = [options.only] if options.only else ["trips", "errors", "costs", "accuracy"]
    print(f"Image: {demo.caption}\n")
    if "errors" in wanted:
        gradient_errors(demo)
    if "costs" in wanted:
        costs(demo)
    if "accuracy" in wanted:
        accuracy(demo)
    if "trips" in wanted:
        for precision in ("float32", "float64"):
            print(f"Model in float32, states in {precision}\n")
            round_trips(demo, precision, {**SOLVERS, **OTHERS})
    if "half" in wanted or options.half:
        demo.in_half()  # last, since it stays so
        for precision in ("float32", "float64"):
            print(f"Model in float16, states in {precision}\n")
            round_trips(demo, precision, SOLVERS)


if __name__ == "__main__":
    main()
