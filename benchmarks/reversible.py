"""The reversible samplers on the demo model: round trips, gradients, memory and accuracy, beside checkpointing each call.

Prints the tables of docs/reversible.md. ``--images FILE`` draws an image inverted, returned and edited.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.samplers
import numpy as np
import torch
from PIL import Image
from sgool.comfy_bridge import reversible_samplers
from sgool.comfy_bridge.inversion import invert
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.comfy_bridge.rewards import load_reward
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.demo import loader, render, scenes
from sgool.guidance.saliency_clip_loss import SaliencyCLIPLoss
from sgool.latent_optimization.reversible import BDIA, EDICT, OBELM, McCallumFoster, Solver, run
from sgool.tests.comfyui.guided import Probe
from torch import Tensor

from .common.markdown import table
from .common.measuring import held_bytes, sampled, seconds, sigmas_of
from .common.optimizer import Preset, Settings

SOLVERS: dict[str, Solver] = {"EDICT 0.93": EDICT(), "BDIA 1.0": BDIA(), "O-BELM": OBELM(), "McCallum-Foster": McCallumFoster()}
OTHERS: dict[str, Solver] = {"EDICT 0.97": EDICT(0.97), "BDIA 0.9": BDIA(0.9), "BDIA 0.5": BDIA(0.5)}
STEPS = (10, 50, 100)
FEWER = (10, 50)  # where it takes long
PRECISIONS = ("float32", "float64")


class Demo:
    """The demo model, and one image of its world with its caption."""

    def __init__(self) -> None:
        self.model, self.clip, self.vae = loader.load_model(), loader.load_clip(), loader.load_vae()
        scene = scenes.draw_scenes(1, 3)[0]
        self.caption = scene.caption.text()
        self.image = render.render(scene).reshape(1, 3, 64, 64)
        self.conditions = self._encoded(self.caption), self._encoded("")
        self.noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))

    def _encoded(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def latent(self, image: Tensor) -> Tensor:
        return self.vae.encode(image.movedim(1, -1))

    def sampled(self, sampler: Any, noise: Tensor, steps: int, **options: Any) -> Tensor:
        return sampled(self.model, sampler, noise, self.conditions, {"steps": steps, **options})

    def inverted(self, sampler: ReversibleSampler, latent: Tensor, steps: int) -> Any:
        positive, negative = self.conditions
        sigmas = sigmas_of(self.model, steps)
        return invert(model=self.model, positive=positive, negative=negative, cfg=1.0, sigmas=sigmas, sampler=sampler, latent=latent)


def relative(found: Tensor, expected: Tensor) -> float:
    """Euclidean distance, over the length of what was expected."""
    return float((found - expected).norm() / expected.norm())


def round_trips(demo: Demo, solvers: dict[str, Solver]) -> str:
    """Image to noise to image: the relative error, and the noise's standard deviation."""

    def trip(sampler: ReversibleSampler, steps: int) -> str:
        latent = demo.latent(demo.image)
        try:
            found = demo.inverted(sampler, latent, steps)
            back = demo.sampled(sampler.with_pair(found.pair), found.noise, steps, latent=latent)
        except ValueError:
            return "ran away"
        return f"{relative(back, latent):.0e} ({float(found.deviation[0]):.2f})"

    columns = list(itertools.product(PRECISIONS, STEPS))
    rows = [[name, *(trip(ReversibleSampler(solver, states), steps) for states, steps in columns)] for name, solver in solvers.items()]
    return table(["solver", *(f"{states}, {steps} steps" for states, steps in columns)], rows)


def measured(demo: Demo, sampler: Any, steps: int, *, stored: bool = False) -> tuple[Tensor, int, float, int]:
    """Gradient of a fixed linear function of the latent; bytes kept between the two passes, seconds, model calls in all.

    ``stored``: of a reversible sampler, with each call checkpointed and the states kept.
    """
    weights = torch.randn(demo.noise.shape, generator=torch.Generator().manual_seed(9))

    def action(make: Callable[..., NoiseToLatent], noise: Tensor) -> tuple[Tensor, int, float, int]:
        found: list[Tensor] = []
        calls, leaf = itertools.count(), noise.requires_grad_()
        _, kept = held_bytes(lambda: make()(leaf))
        whole = make(before_call=lambda: next(calls))
        spent = seconds(lambda: found.extend(torch.autograd.grad(whole(leaf), leaf, weights)))
        return found[0], kept, spent, next(calls)

    own, probe = reversible_samplers.run_reversibly, Probe(action, sampler)
    if stored:
        reversible_samplers.run_reversibly = lambda plan, slope, start, **_: run(plan, slope, start)
    try:
        demo.sampled(probe, demo.noise, steps)
    finally:
        reversible_samplers.run_reversibly = own
    return probe.found


def gradient_errors(demo: Demo) -> str:
    """Of the reversible backward, against the same solver with stored states."""

    def error(sampler: ReversibleSampler, steps: int) -> str:
        exact = measured(demo, sampler, steps, stored=True)[0]
        return f"{relative(measured(demo, sampler, steps)[0], exact):.0e}"

    columns = list(itertools.product(PRECISIONS, FEWER))
    rows = [[name, *(error(ReversibleSampler(solver, states), steps) for states, steps in columns)] for name, solver in SOLVERS.items()]
    return table(["solver", *(f"{states}, {steps}" for states, steps in columns)], rows)


def costs(demo: Demo) -> str:
    """Time, model calls and memory of one gradient."""
    compared: list[tuple[str, Any, bool]] = [("euler, each call checkpointed", comfy.samplers.sampler_object("euler"), False)]
    for words, stored in ((", each call checkpointed", True), (", reversible", False)):
        compared += [(name + words, ReversibleSampler(solver), stored) for name, solver in SOLVERS.items()]
    rows = []
    for name, sampler, stored in compared:
        found = [measured(demo, sampler, steps, stored=stored) for steps in FEWER]
        rows.append([name, found[1][3], f"{found[1][2]:.1f}", *(f"{kept / 1024:.0f}" for _, kept, _, _ in found)])
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


def in_half(demo: Demo) -> str:
    """Round trips of the model in float16, which it stays."""
    network = demo.model.model.diffusion_model.half()
    network.dtype, demo.model.model.manual_cast_dtype = torch.float16, None
    return round_trips(demo, SOLVERS)


def images(demo: Demo, file: Path, edit: str, photograph: Path | None) -> None:
    """A row for each image: given, through the autoencoder, inverted and returned, edited by an objective from there."""
    sampler, steps, rows, given = ReversibleSampler(EDICT()), 20, [], [demo.image]
    if photograph is not None:
        square = Image.open(photograph).convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)
        given.append(torch.from_numpy(np.array(square)).movedim(-1, 0)[None] / 255)
    objective = SaliencyCLIPLoss(load_reward(loader.reward_folder()), [edit])
    for image in given:
        latent = demo.latent(image)
        found = demo.inverted(sampler, latent, steps)
        own = sampler.with_pair(found.pair)
        outer = SGOOLSampler(own, objective, demo.vae, Preset(Settings(iterations=10)))
        back, edited = (demo.sampled(each, found.noise, steps, latent=latent) for each in (own, outer))
        print(f"{found.to_text()}\nlatent returned to {relative(back, latent):.0e}", flush=True)
        rows.append(torch.cat([image, *(demo.vae.decode(x).movedim(-1, 1) for x in (latent, back, edited))], dim=-1))
    sheet = (torch.cat(rows, dim=-2)[0].movedim(0, -1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    drawn = Image.fromarray(sheet)
    drawn.resize((drawn.width * 3, drawn.height * 3), Image.Resampling.NEAREST).save(file)


TABLES: dict[str, Callable[[Demo], str]] = {
    "errors": gradient_errors,
    "costs": costs,
    "accuracy": accuracy,
    "trips": lambda demo: round_trips(demo, {**SOLVERS, **OTHERS}),
    "half": in_half,  # last, since the model stays so
}


def main() -> None:
    """Print the tables, or draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TABLES, help="one table; 'half' is the round trips of the model in float16")
    parser.add_argument("--images", type=Path, help="draw instead of measuring")
    parser.add_argument("--edit", default="a small green circle and a pink triangle and a small orange cross", help="what it is to show")
    parser.add_argument("--photograph", type=Path, help="a second row, of this image")
    options = parser.parse_args()
    demo = Demo()
    print(f"Image: {demo.caption}\n")
    if options.images is not None:
        images(demo, options.images, options.edit, options.photograph)
        return
    for name in [options.only] if options.only else TABLES:
        print(f"{name}: {(TABLES[name].__doc__ or '').strip()}\n\n{TABLES[name](demo)}\n", flush=True)


if __name__ == "__main__":
    main()
