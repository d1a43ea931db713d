"""Score the saliency predictors against where people looked, on images and fixation maps of your own.

    python run.py bench saliency_scores --images DIR --maps DIR [--weights DIR] [--models NAME...] [--longest 512]
    python run.py bench saliency_scores --images DIR --maps DIR --sigmas 0.16 0.18 0.2

DIR hold images and blurred fixation maps under the same names, whatever their endings: MIT1003's ALLSTIMULI and ALLFIXATIONMAPS, or the
100 images of MIT1003 that lie in the repository cvzoya/saliency with all 1003 maps. With ``--sigmas`` the center prior alone is scored, on
the maps that have *no* image in ``--images``: a choice made there can be tested on those that have one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from PIL import Image
from sgool.image_ops.resize import shrink
from sgool.saliency_models import registry
from sgool.saliency_models.center_prior import CenterPrior
from sgool.saliency_models.metrics import cc, kld, sim
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"CC": cc, "SIM": sim, "KLD": kld}
Predict = Callable[[Tensor], Tensor]


def read(path: Path, mode: str, longest: int) -> Tensor:
    """(1, C, H, W) in [0, 1], the longer side at most ``longest`` pixels."""
    return shrink(pil_to_tensor(Image.open(path).convert(mode))[None] / 255, longest)


def by_name(folder: Path) -> dict[str, Path]:
    """The images in a folder by their names without ending."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png")}


def scores(predict: Predict, pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """(n, len(METRICS)): the scores of each (image, map)."""
    rows = []
    with torch.no_grad():
        for image, truth in pairs:
            predicted = predict(image)
            rows.append(torch.stack([metric(predicted, truth)[0] for metric in METRICS.values()]))
    return torch.stack(rows)


def predictors(weights: Path | None, names: list[str] | None = None) -> Iterator[tuple[str, Predict]]:
    """Those named, or all that can be loaded here."""
    for entry in registry.available():
        if names and entry.name not in names:
            continue
        if entry.weights is None:
            yield entry.name, registry.load(entry.name)
        elif weights is not None and (weights / entry.weights.filename).exists():
            yield entry.name, registry.load(entry.name, weights / entry.weights.filename)


def main() -> None:
    """Print a table of means, with the standard error of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="folder with the weights of learned predictors")
    parser.add_argument("--models", nargs="+", help="names of predictors; all, if left out")
    parser.add_argument("--sigmas", type=float, nargs="+", help="score the center prior alone, with these, where there is no image")
    parser.add_argument("--longest", type=int, default=512, help="of the images and maps, pixels")
    arguments = parser.parse_args()
    images, maps = by_name(arguments.images), by_name(arguments.maps)
    wanted: list[tuple[str, Predict]]
    if arguments.sigmas:
        pairs = [(truth, truth) for name, path in maps.items() if name not in images for truth in [read(path, "L", arguments.longest)]]
        pairs = [(image.expand(-1, 3, -1, -1), truth) for image, truth in pairs]
        wanted = [(f"center-prior, sigma {sigma}", CenterPrior(sigma)) for sigma in arguments.sigmas]
    else:
        both = [name for name in images if name in maps]
        pairs = [(read(images[name], "RGB", arguments.longest), read(maps[name], "L", arguments.longest)) for name in both]
        wanted = list(predictors(arguments.weights, arguments.models))
    if not pairs:
        raise SystemExit(f"There is nothing to score: {len(images)} images, {len(maps)} maps, and no names that fit.")
    print(f"{len(pairs)} images\n\n| predictor | {' | '.join(METRICS)} |\n|---|{'---|' * len(METRICS)}")
    for name, predict in wanted:
        found = scores(predict, pairs)
        error = found.std(0, correction=min(1, len(found) - 1)) / len(found) ** 0.5
        cells = (f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(found.mean(0).tolist(), error.tolist(), strict=True))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
