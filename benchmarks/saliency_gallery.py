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
from sgool.image_ops.resize import shrink
from sgool.saliency_models.drawing import contours, fit, overlay, titled, to_pil
from torch import Tensor

from .saliency_scores import Predict, predictors

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
COLUMNS = 4
WIDTH = 300  # pixels of one panel


def photograph(name: str) -> Tensor:
    """Return one of scikit-image's photographs, (1, 3, H, W)."""
    from skimage import data

    return torch.from_numpy(getattr(data, name)()).movedim(-1, 0)[None].float() / 255


def sheet(name: str, models: dict[str, Predict]) -> Tensor:
    """Return one image (3, H, W) of the photograph and every predictor's overlay under its name."""
    image = photograph(name)
    small = shrink(image, WIDTH)
    panels = [(name, small)]
    for predictor, model in models.items():
        # Each map is stretched to its own maximum, as one would look at it: predictors differ in how high their maps reach.
        maps = fit(model(image), small)
        maps = maps / maps.amax().clamp(min=1e-6)
        panels.append((predictor, contours(overlay(small, maps, opacity=0.75), maps, 1)))
    blank = ("", torch.ones_like(small))
    panels += [blank] * (-len(panels) % COLUMNS)
    return torch.cat([titled(panels[start : start + COLUMNS])[0] for start in range(0, len(panels), COLUMNS)], dim=1)


def main() -> None:
    """Write one JPEG for each photograph."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, help="folder with the weights of learned predictors")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = dict(predictors(arguments.weights))
    with torch.no_grad():
        for name in PHOTOGRAPHS:
            path = arguments.out / f"saliency_{name}.jpg"
            to_pil(sheet(name, models)).save(path, quality=85, optimize=True)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {', '.join(models)}")


if __name__ == "__main__":
    main()
