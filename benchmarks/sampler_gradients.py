"""How exact the gradient through each of ComfyUI's samplers is; ``--write`` makes docs/data/sampler-gradients.csv.

python run.py bench sampler_gradients [--write] [--only euler,heun]
"""

from __future__ import annotations

import argparse
import warnings

import comfy.samplers
import comfy.utils
import torch
from sgool.harness.pack import ROOT
from sgool.tests.comfyui import analytic, guided, tiny_models

from .common.markdown import table, write_csv

DATA = ROOT / "docs" / "data" / "sampler-gradients.csv"
KINDS = ("eps", "v", "flow")
HEAD = ["sampler", "eps", "flow", "model calls in 6 steps", "gradient", *(f"guided, {kind}" for kind in KINDS)]


def row(name: str) -> list[object]:
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


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write docs/data/{DATA.name}")
    parser.add_argument("--only", default="", help="these samplers, separated by commas")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    comfy.utils.PROGRESS_BAR_ENABLED = False
    names = [name for name in arguments.only.split(",") if name] or list(comfy.samplers.SAMPLER_NAMES)
    rows = [row(name) for name in names]
    print(table(HEAD, rows))
    if arguments.write:
        write_csv(DATA, HEAD, rows)


if __name__ == "__main__":
    main()
