"""How exact the gradient through each of ComfyUI's samplers is. Prints two tables; with ``--write`` they become docs/sampler-gradients.md.

python benchmarks/sampler_gradients.py [--write] [--only euler,heun]
"""

from __future__ import annotations

import argparse
import warnings

import _environment as environment
import torch

environment.prepare()

import comfy.samplers  # noqa: E402  (needs the environment)
import comfy.utils  # noqa: E402

analytic = environment.helper("analytic")
guided = environment.helper("guided")
tiny_models = environment.helper("tiny_models")

DOCUMENT = environment.ROOT / "docs" / "sampler-gradients.md"
KINDS = ("eps", "v", "flow")
TEXT = """# Gradients through ComfyUI's samplers

The gradient of what a sampler returns, in the noise that it starts from, as `latent_optimization/autograd_mode.py` and
`checkpointed_calls.py` take it through ComfyUI's own, unchanged code. Measured with ComfyUI {comfyui} and PyTorch {torch} on a CPU by
`python benchmarks/sampler_gradients.py --write`. The tests hold every sampler to the first table
(`tests/comfyui/test_sampler_gradients.py`).

## Against central differences in float64

The sampler gets a formula for a denoiser (smooth, non-linear, coupling the elements of an image), six steps of the `normal` schedule, two
images of 3 x 4 x 4. Relative error of three directional derivatives of a random projection of the result. Required: 1e-5.

- `dpm_adaptive` chooses its steps from the latent by comparing numbers, which no gradient follows: it is approximate, and the nodes say so.
- `uni_pc` and `uni_pc_bh2` make tensors of the default dtype, so for them PyTorch's default is float64 here; ComfyUI runs them in float32.

| sampler | eps | flow | model calls in 6 steps | gradient |
|---|---|---|---|---|
{exact}

## Through ComfyUI's guider and UNet in float32

A CFGGuider (CFG 2) with a tiny UNet whose weights were loaded inside inference mode, three steps, two images of 4 x 8 x 8. ComfyUI
samples in float32, which is all that these numbers can tell: slope along the gradient against central differences, the best of the steps
0.1, 0.03 and 0.01. The tests require 5e-3 of a selection.

| sampler | eps | v | flow |
|---|---|---|---|
{guided}
"""


def exact_row(name: str) -> str:
    """One row of the first table."""
    cells, calls = [], 0
    noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for kind in ("eps", "flow"):
        with analytic.float64_by_default(name):
            run = analytic.run_of(name, kind)
            run(noise)
            calls = run.calls
            cells.append(analytic.relative_error(*analytic.directional(run, noise)))
    verdict = "exact" if max(cells) <= 1e-5 else "approximate"
    return f"| {name} | {cells[0]:.0e} | {cells[1]:.0e} | {calls} | {verdict} |"


def guided_row(name: str) -> str:
    """One row of the second table."""
    with torch.inference_mode():
        errors = [guided.through_guider(tiny_models.tiny_model(kind), guided.error_along_gradient, name) for kind in KINDS]
    return f"| {name} | " + " | ".join(f"{error:.0e}" for error in errors) + " |"


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/sampler-gradients.md")
    parser.add_argument("--only", default="", help="these samplers, separated by commas")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    comfy.utils.PROGRESS_BAR_ENABLED = False
    names = [name for name in arguments.only.split(",") if name] or list(comfy.samplers.SAMPLER_NAMES)
    exact, through = [], []
    for name in names:
        exact.append(exact_row(name))
        print(exact[-1], flush=True)
    for name in names:
        through.append(guided_row(name))
        print(through[-1], flush=True)
    if arguments.write:
        import comfyui_version

        text = TEXT.format(
            comfyui=comfyui_version.__version__,
            torch=torch.__version__.split("+")[0],
            exact="\n".join(exact),
            guided="\n".join(through),
        )
        DOCUMENT.write_text(text, encoding="utf-8")
        print(f"wrote {DOCUMENT.name}")


if __name__ == "__main__":
    main()
