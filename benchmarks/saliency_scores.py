"""Score the saliency predictors against where people looked, or draw them side by side, on images of your own.

    python run.py bench saliency_scores --images DIR --maps DIR [--weights DIR] [--models NAME...] [--longest 512]
    python run.py bench saliency_scores --images DIR --draw DIR [--weights DIR] [--longest 2048]

DIR hold images and blurred fixation maps under the same names, whatever their endings: MIT1003's ALLSTIMULI and ALLFIXATIONMAPS, or the
100 images of MIT1003 that lie in the repository cvzoya/saliency. Learned predictors are among them where their file or folder lies in
``--weights`` under the name that the registry gives.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from PIL import Image
from sgool.harness.problems import SetupProblem
from sgool.image_ops.contact_sheet import CELL, contact_sheet
from sgool.image_ops.resize import shrink
from sgool.saliency_models import registry
from sgool.saliency_models.drawing import contours, fit, overlay, to_pil
from sgool.saliency_models.metrics import cc, kld, sim
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from .common.markdown import table
from .common.statistics import mean_and_error

METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"CC": cc, "SIM": sim, "KLD": kld}
Predict = Callable[[Tensor], Tensor]


def read(path: Path, mode: str, longest: int) -> Tensor:
    """(1, C, H, W) in [0, 1], the longer side at most ``longest`` pixels."""
    return shrink(pil_to_tensor(Image.open(path).convert(mode))[None] / 255, longest)


def by_name(folder: Path) -> dict[str, Path]:
    """The images in a folder by their names without ending."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png")}


def cells(predict: Predict, pairs: Iterable[tuple[Tensor, Tensor]]) -> list[str]:
    """The mean of each metric over pairs of image and map, with its standard error."""
    maps = [(predict(image), truth) for image, truth in pairs]
    return [mean_and_error([float(metric(*both)) for both in maps], errors=1) for metric in METRICS.values()]


def sheet(name: str, image: Tensor, models: Iterable[tuple[str, Predict]]) -> Image.Image:
    """One image and every predictor's overlay. Each map is stretched to its own maximum, as one would look at it."""
    small, panels = shrink(image, CELL), {name: shrink(image, CELL)}
    for predictor, model in models:
        maps = fit(model(image), small)
        maps = maps / maps.amax().clamp(min=1e-6)
        panels[predictor] = contours(overlay(small, maps, opacity=0.75), maps, 1)
    return to_pil(contact_sheet([panel[0] for panel in panels.values()], [[label] for label in panels])[0].movedim(-1, 0))


def predictors(weights: Path | None, names: list[str] | None = None) -> Iterator[tuple[str, Predict]]:
    """Those named, or all that can be loaded here."""
    for entry in registry.available():
        path = weights / entry.weights.filename if weights and entry.weights else None
        if (not names or entry.name in names) and (entry.weights is None or (path and path.exists())):
            yield entry.name, registry.load(entry.name, path)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--maps", type=Path, help="of where people looked")
    parser.add_argument("--draw", type=Path, help="write a JPEG for each image here instead of scoring")
    parser.add_argument("--weights", type=Path, help="folder with the weights of learned predictors")
    parser.add_argument("--models", nargs="+", help="names of predictors; all, if left out")
    parser.add_argument("--longest", type=int, default=512, help="of the images and maps, pixels")


@torch.no_grad()
def main(options: argparse.Namespace) -> None:
    """Print a table of means, with the standard error of each, or draw."""
    images = by_name(options.images)
    if options.draw:
        for name, path in images.items():
            drawn = sheet(name, read(path, "RGB", options.longest), predictors(options.weights, options.models))
            drawn.save(options.draw / f"saliency_{name}.jpg", quality=85, optimize=True)
        return
    maps = by_name(options.maps) if options.maps else {}
    names = [name for name in maps if name in images]
    if not names:
        raise SetupProblem(f"there is nothing to score: {len(images)} images, {len(maps)} maps, and no names that fit.")
    pairs = [(read(images[name], "RGB", options.longest), read(maps[name], "L", options.longest)) for name in names]
    wanted = predictors(options.weights, options.models)
    print(f"{len(pairs)} images\n")
    print(table(["predictor", *METRICS], [[name, *cells(predict, pairs)] for name, predict in wanted]))
