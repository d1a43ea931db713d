"""Draw the saliency predictors side by side on photographs, for docs/saliency.md.

    python run.py bench saliency_gallery [--weights DIR] [--out docs/img]

Without ``--weights`` the predictors that need none are drawn. With it, each learned predictor whose file or folder lies in DIR
(under the name that the registry gives) is drawn as well. The photographs are scikit-image's: astronaut (NASA, public domain), chelsea
(Stefan van der Walt, CC0), coffee (Rachel Michetti, CC0).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sgool.harness.pack import ROOT
from sgool.image_ops.resize import shrink
from sgool.saliency_models.drawing import contours, fit, overlay, titled, to_pil
from skimage import data
from torch import Tensor

from .saliency_scores import Predict, predictors

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
COLUMNS, WIDTH = 4, 300  # of panels, and the pixels of one


def sheet(name: str, image: Tensor, models: dict[str, Predict]) -> Tensor:
    """Return one image (3, H, W) of a photograph (1, 3, H, W) and every predictor's overlay under its name."""
    small = shrink(image, WIDTH)
    panels = [(name, small)]
    for predictor, model in models.items():
        # Each map is stretched to its own maximum, as one would look at it: predictors differ in how high their maps reach.
        maps = fit(model(image), small)
        maps = maps / maps.amax().clamp(min=1e-6)
        panels.append((predictor, contours(overlay(small, maps, opacity=0.75), maps, 1)))
    panels += [("", torch.ones_like(small))] * (-len(panels) % COLUMNS)
    return torch.cat([titled(panels[start : start + COLUMNS])[0] for start in range(0, len(panels), COLUMNS)], dim=1)


def main() -> None:
    """Write one JPEG for each photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder with the weights of learned predictors")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    models = dict(predictors(options.weights))
    with torch.no_grad():
        for name in PHOTOGRAPHS:
            image = torch.from_numpy(getattr(data, name)()).movedim(-1, 0)[None].float() / 255
            to_pil(sheet(name, image, models)).save(options.out / f"saliency_{name}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main()
