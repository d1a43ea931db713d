"""What gradients cost on this machine's GPU, at real sizes with random weights: nothing is downloaded.

    python run.py bench gpu                      all parts, under 9 minutes on a data-center GPU; again: those that are missing
    python run.py bench gpu --only SDXL          the parts whose name has this in it
    python run.py bench gpu --small              the narrowest networks, to try it on a processor

With a Python of your own that has torch, and no network: COMFYUI_PATH=... python -m harness.script sgool.benchmarks gpu

Each part is a process of its own and leaves a line in the folder's results.jsonl; with it come table.md and plot.png. F is one forward of
the model for one call. Weights are random, so images are nonsense; time and memory do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sgool.harness.pack import ROOT
from sgool.harness.problems import SetupProblem

from .common.jobs import Job, Record, Store, write
from .common.markdown import table

MODES = {"": [], "no VRAM": ["novram"], "dynamic VRAM": ["enable_dynamic_vram"]}  # switches of ComfyUI's command line
WAYS = ("everything kept", "dearest outputs kept", "each call checkpointed", "each block as well")


@dataclass(frozen=True)
class Part:
    """One process: which function of gradient_parts.py, of which model, in which of ComfyUI's memory modes."""

    kind: str
    title: str
    precision: str
    options: dict[str, Any] = field(default_factory=dict)
    mode: str = ""

    @property
    def name(self) -> str:
        """By which it is asked for, and its result kept."""
        options = "".join(f", {name} {value}" for name, value in self.options.items())
        return f"{self.kind}, {self.title}, {self.precision}{options}{f', {self.mode}' if self.mode else ''}"


def parts() -> list[Part]:
    """In the order in which they are run: what matters most comes first."""
    sizes = [("SD 1.5", "fp16"), ("SDXL", "fp16"), ("Z-Image", "bf16"), ("Flux", "fp8"), ("SD 3.5 medium", "fp16")]
    more = [("SDXL", "bf16"), ("Z-Image", "fp8"), ("SDXL", "fp8"), ("Flux", "bf16"), ("SD 1.5", "fp32")]
    found = [Part("costs", *size) for size in sizes] + [Part("iteration", *size) for size in sizes[:4]]
    found += [Part("costs", title, "fp16", {"batch": batch}) for title in ("SD 1.5", "SDXL") for batch in (2, 4, 8)]
    found += [Part("costs", "SDXL", "fp16", mode=mode) for mode in MODES if mode]
    found += [Part("beside_doodl", "SD 1.5", "fp16"), Part("schedules", "SD 1.5", "fp16")]
    found += [Part("beside_doodl", "SD 1.5", "fp32", {"latent": 32})]  # small enough for one core of a processor
    return [*found, *(Part("costs", *size) for size in more)]


def measure(part: Part, small: bool, repeats: int) -> dict[str, Any]:
    """Run a part in this process, whose ComfyUI has to be fresh: its memory modes are decided when it is imported."""
    from comfy.cli_args import args

    for switch in MODES[part.mode]:
        setattr(args, switch, True)
    args.use_pytorch_cross_attention = True  # on a processor as well, as on NVIDIA cards
    import torch

    if part.mode == "dynamic VRAM":
        _start_dynamic_vram()
    from .common import gradient_parts

    options = {**part.options, **({"offload": True} if part.mode else {})}
    with torch.inference_mode():
        case = gradient_parts.Case(part.title, part.precision, small=small, repeats=repeats, **options)
        found = getattr(gradient_parts, part.kind)(case)
    return {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU", "torch": torch.__version__, **found}


def _start_dynamic_vram() -> None:
    """As ComfyUI's ``main.py`` does. Raises ``RuntimeError`` where there is none."""
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher
    import comfy_aimdo.control  # type: ignore[import-untyped]

    devices = comfy.model_management.get_all_torch_devices() if comfy.model_management.is_nvidia() else []
    comfy_aimdo.control.init()
    if not devices or not comfy_aimdo.control.init_devices(device.index or 0 for device in devices):
        raise RuntimeError("There is no dynamic VRAM here: it needs an NVIDIA GPU and comfy-aimdo.")
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True


def run_apart(part: Part, options: argparse.Namespace, seconds: float) -> Record:
    """A part in a process of its own, which prints its result last; what went wrong in it is its result, in one line."""
    command = [sys.executable, "-m", "harness.script", "sgool.benchmarks", "gpu", "--part", part.name]
    command += ["--repeats", str(options.repeats), *(["--small"] if options.small else [])]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {seconds:.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]}
    return {"found": json.loads(done.stdout.splitlines()[-1])}


def report(records: list[Record]) -> str:
    """The tables of all that is there."""
    rows, lists = [], []
    for name, found in _costs(records).items():
        cells = [f"{each['F']:.2f} F, {each['GiB']:.2f}" if (each := found[way]) else "does not fit" for way in WAYS]
        about = [name, f"{1000 * found['seconds of F']:.0f}", found["weights GiB"], f"{found['forward']['GiB']:.2f}"]
        rows.append([*about, *cells, found.get("cosine to fp32", "")])
    for record in records:
        if record["method"].removeprefix("costs, ") not in _costs(records):
            shown = {key: value for key, value in record.get("found", {}).items() if key not in ("device", "torch", "rounds")}
            told = ", ".join(f"{key} {value}" for key, value in shown.items())
            lists.append(f"- {record['method']}: {record.get('failed', told)}")
    head = ["model", "F (ms)", "weights (GiB)", "forward (GiB)", *(f"{way}: a call, GiB" for way in WAYS), "cosine to fp32"]
    devices = {f"{found['device']}, torch {found['torch']}" for record in records if (found := record.get("found"))}
    return "\n".join([f"Measured on {'; '.join(sorted(devices))}. GiB are above the weights.\n", table(head, rows), "", *lists])


def _costs(records: list[Record]) -> dict[str, Any]:
    """What a gradient costs, by model: of those of which at least a forward fits."""
    found = {record["method"]: record.get("found", {}) for record in records}
    return {name.removeprefix("costs, "): each for name, each in found.items() if name.startswith("costs") and each.get("forward")}


def plot(folder: Path, costs: dict[str, Any]) -> None:
    """Time and memory of each way, by model, as bars; needs matplotlib, which the pack itself does not."""
    try:
        from matplotlib import pyplot
    except ImportError:
        print("There is no matplotlib, so plot.png is not drawn.")
        return
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 1.5 + 0.6 * len(costs)), sharey=True, layout="constrained")
    for axis, unit, title in zip(axes, ("F", "GiB"), ("forwards for one call with gradient", "GiB above the weights"), strict=True):
        for place, way in enumerate(WAYS):
            values = [each[way][unit] if each[way] else 0.0 for each in costs.values()]
            axis.barh([row + 0.2 * (place - 1.5) for row in range(len(costs))], values, 0.18, label=way)
        axis.set_title(title, fontsize=10)
        axis.set_yticks(range(len(costs)), list(costs))
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8)
    figure.savefig(folder / "plot.png", dpi=90)
    pyplot.close(figure)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=ROOT / "output" / "bench-gpu", help="of the results")
    parser.add_argument("--only", default="", help="parts whose name has this in it")
    parser.add_argument("--small", action="store_true", help="the narrowest networks and latents")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.5, help="no part goes on for longer; start again for the rest")
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)


def main(options: argparse.Namespace) -> None:
    """Run what is missing, within the time; print and write what there is."""
    every = {part.name: part for part in parts()}
    if options.part:
        print(json.dumps(measure(every[options.part], options.small, options.repeats)))
        return
    end, store = time.monotonic() + 60 * options.minutes, Store(options.folder.resolve(), {"small": options.small})
    jobs = [Job(0, 0, (), name) for name in every]
    for job in store.missing(job for job in jobs if options.only in job.method):
        if (left := end - time.monotonic()) > 0:
            print(f"{job.method} ...", flush=True)
            store.add(job, run_apart(every[job.method], options, left))
    records = [store.records[job.key] for job in jobs if job.key in store.records]
    if not records:
        raise SetupProblem(f"no part's name has {options.only!r} in it. Parts: {'; '.join(every)}")
    print(text := report(records))
    write(store.folder / "table.md", (text + "\n").encode())
    plot(store.folder, _costs(records))
