"""Prints docs/model-families.md's table: gradients of every model class against the uncheckpointed gradient.

    python run.py python tests/comfyui/families/table.py [NAME...]

Takes some minutes on one core. The tests hold each of these numbers to a limit; here they are to be read.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from comfyui.families.building import activations_stored, build, gradient, reference, slope_weights, through_guider
from comfyui.families.configurations import FAMILIES, NOT_IMAGES, NOT_MEASURED
from comfyui.families.whole_runs import cold_gradient, whole_run
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.latent_optimization.checkpointed_calls import checkpointed_blocks
from torch import Tensor

HEAD = (
    "| model | recomputed | stored | each block | blocks | batch of 2 | real depth | real depth, each block "
    "| central differences | bf16, cosine | cold caches | whole run |"
)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def block_by_block(run: NoiseToLatent, noise: Tensor) -> tuple[Tensor, int]:
    with checkpointed_blocks(run.model.inner_model.diffusion_model) as recomputed:
        return gradient(run, noise), len(recomputed)


def small(run: NoiseToLatent, noise: Tensor) -> list[str]:
    expected = reference(run, noise)
    recomputed = relative(gradient(run, noise), expected)
    with activations_stored(run):
        stored = relative(gradient(run, noise), expected)
    blocks, count = block_by_block(run, noise)
    return [f"{recomputed:.0e}", f"{stored:.0e}", f"{relative(blocks, expected):.0e}", str(count)]


def differences(run: NoiseToLatent, noise: Tensor) -> str:
    own = gradient(run, noise)
    direction = own / own.norm()
    found = []
    for step in (1.0, 0.3, 0.1, 0.03, 0.01):
        up, down = (run(noise + sign * step * direction).double() for sign in (1, -1))
        slope = float(((up - down) * slope_weights(up).double()).sum() / (2 * step))
        found.append(abs(slope - float(own.norm())) / abs(slope))
    return f"{min(found):.0e}"


def doubled(run: NoiseToLatent, noise: Tensor) -> str:
    return f"{relative(gradient(run, noise), reference(run, noise)):.0e}"


def deep(run: NoiseToLatent, noise: Tensor) -> list[str]:
    expected = reference(run, noise)
    blocks, count = block_by_block(run, noise)
    return [f"{relative(gradient(run, noise), expected):.0e} ({count} blocks)", f"{relative(blocks, expected):.0e}"]


def tried(action: object) -> list[str]:
    try:
        result = action()  # type: ignore[operator]
    except Exception as error:
        return [f"{type(error).__name__}: {str(error)[:60]}"]
    return result if isinstance(result, list) else [result]


def half(name: str) -> str:
    full = through_guider(name, build(name), gradient).flatten()
    found = through_guider(name, build(name, dtype=torch.bfloat16), gradient).float().flatten()
    assert torch.isfinite(found).all()
    return f"{torch.nn.functional.cosine_similarity(found, full, dim=0):.4f}"


def whole(name: str) -> str:
    difference = whole_run(name)[0]
    return "same bits" if difference == 0 else f"{difference:.0e}"


def row(name: str) -> str:
    model = build(name)
    cells = tried(lambda: through_guider(name, model, small))
    cells += ["takes none"] if FAMILIES[name].alone else tried(lambda: through_guider(name, model, doubled, batch=2))
    cells += tried(lambda: through_guider(name, build(name, deep=True), deep))
    cells += tried(lambda: through_guider(name, model, differences))
    cells += tried(lambda: half(name))
    cells += tried(lambda: f"{relative(*through_guider(name, build(name), cold_gradient)):.0e}")
    cells += tried(lambda: whole(name))
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(HEAD)
    print("|---" * HEAD.count(" |") + "|")
    with torch.inference_mode():
        for name in sys.argv[1:] or FAMILIES:
            print(row(name), flush=True)
    for name, reason in {**NOT_MEASURED, **NOT_IMAGES}.items():
        print(f"| {name} | {reason} |")


if __name__ == "__main__":
    main()
