"""What each saliency predictor costs, per image: time and peak memory, for batches, with the gradient in the pixels and without.

    python run.py bench saliency_cost
    python run.py bench saliency_cost --transalnet DIR --unisal DIR --u2net DIR

The folders are copies of the authors' repositories (LJOVO/TranSalNet, rdroste/unisal, xuebinqin/U-2-Net). With them, each network is
timed beside its reference with the same weights, in turns, and the largest difference between the two outputs is shown. Weights are
seeded random numbers: cost does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import _saliency_references as references
import torch
from sgool.harness.seeded_weights import seeded_images, seeded_state
from sgool.saliency_models import registry
from sgool.saliency_models.interface import SaliencyModel
from sgool.saliency_models.transalnet import TranSalNet
from sgool.saliency_models.u2net import U2Net
from sgool.saliency_models.unisal import Unisal
from torch import Tensor

MIB = 2**20
NETWORKS: dict[str, tuple[Callable[[], SaliencyModel], tuple[int, int]]] = {
    "transalnet-resnet50": (lambda: TranSalNet("resnet50"), (288, 384)),
    "transalnet-densenet161": (lambda: TranSalNet("densenet161"), (288, 384)),
    "unisal": (Unisal, (288, 384)),
    "u2net": (lambda: U2Net("u2net"), (320, 320)),
    "u2netp": (lambda: U2Net("u2netp"), (320, 320)),
}


def make(name: str) -> SaliencyModel:
    """Make a predictor with seeded weights; the attention models with transformers' random ones."""
    if name in NETWORKS:
        with torch.device("meta"):
            shapes = NETWORKS[name][0]().state_dict()
        return registry.load(name, seeded_state(shapes))
    if name in ("dinov2-attention", "dinov2-rollout"):
        import transformers
        from sgool.saliency_models.attention import AttentionSaliency

        config = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, attn_implementation="eager")
        with torch.random.fork_rng():
            vision = transformers.Dinov2Model(config).requires_grad_(False).eval()
        return AttentionSaliency(vision, name, "last" if name == "dinov2-attention" else "rollout")
    return registry.load(name)


def call(function: Callable[[Tensor], Tensor], images: Tensor, gradient: bool) -> Tensor:
    """Run once; with the gradient, also backward from the sum."""
    if not gradient:
        with torch.no_grad():
            return function(images)
    leaf = images.detach().requires_grad_()
    maps = function(leaf)
    maps.sum().backward()
    return maps.detach()


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Time one call: on a CPU the processor's time, all threads together, which other programs do not lengthen as they do the clock's."""
    if device.type == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int:
    """Return the most memory that tensors of one call took at a time, weights not counted."""
    if device.type != "cpu":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def in_turns(runs: Sequence[Callable[[], Any]], repeats: int, device: torch.device) -> list[list[float]]:
    """Time each of ``runs`` ``repeats`` times, in turns."""
    rounds = [[seconds(run, device) for run in runs] for _ in range(repeats)]
    return [list(times) for times in zip(*rounds, strict=True)]


def predictors_table(names: list[str], arguments: argparse.Namespace) -> None:
    """Whole predictors, from images of 512 x 512 to maps of that size."""
    device = torch.device(arguments.device)
    print("\n| predictor | batch | ms, map | MiB, map | ms, map and gradient | MiB, map and gradient |\n|---|---|---|---|---|---|")
    for name in names:
        model = make(name).to(device)
        for batch in arguments.batches:
            images = seeded_images(batch, 512, 512).to(device)
            cells = []
            for gradient in (False, True):

                def run(gradient: bool = gradient, images: Tensor = images, model: SaliencyModel = model) -> Tensor:
                    return call(model, images, gradient)

                memory = peak_bytes(run, device)  # first, as the warm-up too
                (times,) = in_turns([run], arguments.repeats, device)
                cells += [f"{min(times) / batch * 1e3:.0f}", f"{memory / batch / MIB:.0f}"]
            print(f"| {name} | {batch} | {' | '.join(cells)} |", flush=True)


def references_table(names: list[str], arguments: argparse.Namespace) -> None:
    """Networks alone at their own input size, ours and the reference's in turns."""
    device = torch.device(arguments.device)
    print("\n| network | batch | gradient | ms, ours | ms, reference | time ratio | MiB, ours | MiB, reference | largest difference |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        reference = references.load(name, {"transalnet": arguments.transalnet, "unisal": arguments.unisal, "u2net": arguments.u2net})
        if reference is None:
            continue
        state = seeded_state(reference.state_dict())
        reference.load_state_dict(state)
        ours: Any = registry.load(name, state).to(device)
        both = (ours_forward(name, ours), references.forward(name, reference.to(device)))
        for batch in arguments.batches:
            images = seeded_images(batch, *NETWORKS[name][1]).to(device)
            for gradient in (False, True):
                print(compare(name, both, images, gradient, arguments), flush=True)


def ours_forward(name: str, model: Any) -> references.Forward:
    """Our network as a function that returns what the reference returns."""
    if name == "unisal":
        return lambda images: torch.log_softmax(model.network(images).flatten(1), dim=1).view(len(images), 1, *images.shape[-2:])
    return (lambda images: torch.sigmoid(model.network(images))) if name.startswith("u2net") else model.network


def compare(name: str, both: tuple[Any, Any], images: Tensor, gradient: bool, arguments: argparse.Namespace) -> str:
    """Return one row of the table."""
    device = torch.device(arguments.device)
    outputs: dict[int, Tensor] = {}

    def run(which: int) -> None:
        outputs[which] = call(both[which], images, gradient)

    runs = [partial(run, 0), partial(run, 1)]
    memory = [peak_bytes(run, device) / len(images) / MIB for run in runs]  # first, as the warm-up too
    ours, theirs = in_turns(runs, arguments.repeats, device)
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    difference = float((outputs[0] - outputs[1]).abs().max())
    numbers = [min(times) / len(images) * 1e3 for times in (ours, theirs)]
    return (
        f"| {name} | {len(images)} | {'yes' if gradient else 'no'} | {numbers[0]:.0f} | {numbers[1]:.0f} | {ratio:.2f} "
        f"| {memory[0]:.0f} | {memory[1]:.0f} | {difference:.1e} |"
    )


def main() -> None:
    """Print the tables."""
    weightless = [entry.name for entry in registry.available() if not entry.needs_weights]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for family in ("transalnet", "unisal", "u2net"):
        parser.add_argument(f"--{family}", type=Path, metavar="DIR", help="a copy of the authors' repository")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", help="names of predictors")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.only or [*weightless, *NETWORKS, "dinov2-attention", "dinov2-rollout"]
    print(f"torch {torch.__version__}, {arguments.device}, {arguments.threads} thread(s); per image, best of {arguments.repeats}")
    references_table([name for name in names if name in NETWORKS], arguments)
    predictors_table(names, arguments)


if __name__ == "__main__":
    main()
