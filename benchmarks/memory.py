"""How much memory an iteration takes at real sizes, predicted without a GPU: bytes counted on torch's meta device. Prints tables.

    python run.py bench memory                      five models, some minutes; again: those that are missing
    python run.py bench memory --only SDXL          the models whose name has this in it

Counted are tensors, from when they are made to when they go, in the pack's own and core's code. Not counted: what kernels take for
themselves while they run, what the allocator cannot use, other programs. Nothing here was measured on a card; `bench gpu` measures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from sgool.harness.pack import ROOT

from .common.jobs import Job, Store
from .common.markdown import table, write_csv

GIB = 2**30
CARDS = (6, 8, 12, 16, 24, 80)
STEPS = (4, 8, 30)
SYSTEM = 1.0
"""GiB of a card that are taken before ComfyUI takes any: the driver's context, and what core leaves free for others (0.4 to 0.7)."""
MODELS = {  # precision, whether there is guidance (two images a call), precision of the VAE
    "SD 1.5": ("fp16", True, "bf16"),
    "SDXL": ("fp16", True, "bf16"),
    "SD 3.5 medium": ("fp16", True, "bf16"),
    "Z-Image": ("bf16", False, "bf16"),
    "Z-Image, fp8": ("fp8", False, "bf16"),
    "Flux": ("bf16", False, "bf16"),
    "Flux, fp8": ("fp8", False, "bf16"),
}
PARTS = ("weights", "kept", "stored", "call", "block", "VAE and reward", "decode", "decode, blocks")
Found = dict[str, float]


def measure(name: str) -> Found:
    """GiB of one model's parts. To be called before ComfyUI is imported: it decides then which attention it uses."""
    from comfy.cli_args import args

    args.use_pytorch_cross_attention = True  # as on a GPU
    from .common.counted_parts import judge_bytes, network_bytes

    precision, guided, decoder = MODELS[name]
    title = name.partition(",")[0]
    sizes = network_bytes(title, precision, guided) | judge_bytes(title, decoder)
    return {part: round(sizes[part] / GIB, 3) for part in PARTS}


def stored(found: Found, steps: int) -> float:
    """The peak with every call stored, weights included: all but one call's activations wait while the last is differentiated."""
    waiting = steps * found["kept"]
    sampling = (steps - 1) * found["kept"] + max(found["stored"], found["kept"])
    return found["weights"] + max(sampling, found["VAE and reward"] + waiting + found["decode"])


def together(found: Found, network: str, decode: str) -> float:
    """The peak with nothing stored and all weights on the card."""
    return found["weights"] + found["VAE and reward"] + max(found[network], found[decode])


def in_turns(found: Found, network: str, decode: str) -> float:
    """The peak where core moves the model's weights away for decoding, and back: slower, by a copy of the weights an iteration."""
    return max(found["weights"] + found[network], found["VAE and reward"] + found[decode])


def in_part(found: Found) -> float:
    """The peak with a fifth of the weights on the card."""
    return max(found["block"] + 0.2 * found["weights"], found["VAE and reward"] + found["decode, blocks"])


CALL, BLOCK = "each call checkpointed", "each block checkpointed"
CHECKPOINTED = {CALL: ("call", "decode"), f"{CALL}, VAE's blocks": ("call", "decode, blocks"), BLOCK: ("block", "decode, blocks")}
# The ways to run and their peaks, in the order in which the pack comes to them by itself.
PEAKS: dict[str, Callable[[Found], float]] = {
    **{f"{steps} calls stored": partial(stored, steps=steps) for steps in reversed(STEPS)},
    **{way: partial(together, network=network, decode=decode) for way, (network, decode) in CHECKPOINTED.items()},
    **{f"{way}, weights moved": partial(in_turns, network=network, decode=decode) for way, (network, decode) in CHECKPOINTED.items()},
    "weights in part on the processor": in_part,
}
SHOWN = [*(f"{steps} calls stored" for steps in STEPS), CALL, BLOCK, f"{BLOCK}, weights moved"]


def settings(found: Found, card: float) -> str:
    """The first of the ways to run that fits a card of so many GiB."""
    return next((way for way, peak in PEAKS.items() if peak(found) <= card - SYSTEM), "does not fit")


def report(all_found: Mapping[str, Found]) -> str:
    """The tables."""
    parts = [[name, *(f"{found[part]:.2f}" for part in PARTS)] for name, found in all_found.items()]
    peaks = [[name, *(f"{PEAKS[way](found):.1f}" for way in SHOWN)] for name, found in all_found.items()]
    cards = [[name, *(settings(found, card) for card in CARDS)] for name, found in all_found.items()]
    titles = ["model", "weights", "kept of a call", "call stored", "call checkpointed", "each block", "VAE and reward", "decode", "blocks"]
    tables = [table(titles, parts), table(["model", *SHOWN], peaks), table(["model", *(f"{card} GB" for card in CARDS)], cards)]
    return "Predicted from counted bytes (GiB), not measured on a card.\n\n" + "\n\n".join(tables)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=ROOT / "output" / "bench-memory", help="of the results")
    parser.add_argument("--only", default="", help="models whose name has this in it")


def main(options: argparse.Namespace) -> None:
    """Count what is missing; print and write what there is."""
    store, jobs = Store(options.folder.resolve(), {}), [Job(0, 0, (), name) for name in MODELS]
    for job in store.missing(job for job in jobs if options.only in job.method):
        print(f"{job.method} ...", flush=True)
        with torch.inference_mode(False):
            store.add(job, {"found": measure(job.method)})
    every = {record["method"]: record["found"] for record in store.of(jobs)}
    print(report(every))
    write_csv(options.folder / "memory.csv", ["model", *PARTS], [[name, *found.values()] for name, found in every.items()])
