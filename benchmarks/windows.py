"""How often a reward of few pixels ranks right above wrong: by the whole image, and by windows of it at full resolution as well.

    python run.py bench windows --pairs 250              half an hour on one core, with the training of the reward

Nothing is sampled: scenes whose subject is small on a busy ground are painted twice, once with an attribute of one object changed or two
exchanged. The better the reward sees, the more often the caption fits the right image better, and the image the right caption.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sgool.demo.captions import Caption, hard_negatives
from sgool.demo.render import foreground, render
from sgool.demo.scenes import SIDE, Scene
from sgool.guidance.regions import peak_windows
from sgool.image_ops.resize import sample_window
from sgool.saliency_models import registry
from torch import Tensor

from .common.markdown import tell
from .common.statistics import paired, share
from .worth.low_resolution import draw_subjects, load_low_resolution, reduced

RADII = {"7 to 9": (3.5, 4.5), "11 to 14": (5.5, 7.0)}  # by how wide the subjects are, in pixels
READS = (16, 24)
CLUTTER, CHUNK = 2, 50
PREDICTED = ("default", "default-without-center")
HEAD = ("subjects", "wide, px", "reads, px", "seen", "image right, %", "caption right, %", "points (95 %)", "gained / lost", "p")


def altered(scene: Scene, wrong: Caption) -> Scene:
    """The scene as a caption of as many objects tells it."""
    pairs = zip(scene.objects, wrong.objects(), strict=True)
    return replace(scene, objects=tuple(replace(o, color=color, shape=shape) for o, (color, shape, _) in pairs))


def maps_of(predictors: Mapping[str, Callable[[Tensor], Tensor]], images: Tensor, scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Maps ``(B, 1, H, W)`` to put windows by, by name: each predictor's, and where the subjects truly are."""
    found = {f"windows: {name}": predictor(images) for name, predictor in predictors.items()}
    return found | {"windows: true mask": torch.stack([foreground(scene) for scene in scenes])}


def scores(embed: Callable[[Tensor], Tensor], images: Tensor, maps: dict[str, Tensor], texts: Tensor, reads: int) -> dict[str, Tensor]:
    """By way of looking: the cosine ``(B, t)`` of images with texts ``(B, t, d)``, the mean of the whole image's and the windows'."""

    def cosine(seen: Tensor) -> Tensor:
        return torch.einsum("bd,btd->bt", embed(seen), texts)

    def windows(places: list[Tensor]) -> list[Tensor]:
        return [cosine(reduced(sample_window(images, place, (reads, reads)), reads)) for place in places]

    whole = cosine(reduced(images, reads))
    found = {"whole": whole}
    corners = torch.randint(0, SIDE - reads + 1, (3, len(images), 2), generator=torch.Generator().manual_seed(reads))
    seen = {"windows: random": windows([torch.cat([corner, corner + reads], dim=1).float() for corner in corners])}
    seen |= {name: windows(peak_windows(map_, (reads, reads), 3)) for name, map_ in maps.items()}
    for name, each in seen.items():
        found[f"whole, 1 {name}"] = (whole + each[0]) / 2
        found[f"whole, 3 {name}"] = (whole + torch.stack(each).mean(0)) / 2
    return found


Hits = dict[tuple[int, str], np.ndarray]  # by pixels read and way of looking: (2, pairs), whether image and caption are ranked right


class WindowRanking:
    """The reward, and ranks by it, of pairs of scenes with ``count`` subjects of some ``radii``."""

    def __init__(self, folder: Path) -> None:
        self.model = load_low_resolution(folder)
        self.predictors = {name: registry.load(name) for name in PREDICTED}

    @torch.no_grad()
    def of(self, count: int, radii: tuple[float, float], pairs: int) -> Hits:
        """Of ``pairs`` pairs, the same ones each time."""
        rng = np.random.default_rng([count, int(10 * radii[0])])
        every: list[Hits] = []
        for start in range(0, pairs, CHUNK):
            scenes = [draw_subjects(rng, count, radii, keep_held_out=True) for _ in range(min(CHUNK, pairs - start))]
            every.append(self._hits(scenes, [hard_negatives(scene.caption, 1, rng, attributes_only=True)[0] for scene in scenes]))
        return {key: np.concatenate([each[key] for each in every], axis=1) for key in every[0]}

    def _hits(self, scenes: list[Scene], wrong: list[Caption]) -> Hits:
        read = self.model.read([(scene.caption, other) for scene, other in zip(scenes, wrong, strict=True)])
        right = self._scores(scenes, read)
        false = self._scores([altered(scene, other) for scene, other in zip(scenes, wrong, strict=True)], read)
        return {key: torch.stack([value[:, 0] > false[key][:, 0], value[:, 0] > value[:, 1]]).numpy() for key, value in right.items()}

    def _scores(self, scenes: list[Scene], texts: Tensor) -> dict[tuple[int, str], Tensor]:
        images = torch.stack([render(scene, clutter=CLUTTER) for scene in scenes])
        maps = maps_of(self.predictors, images, scenes)
        looked = {reads: scores(lambda seen: self.model.look(seen)[0], images, maps, texts, reads) for reads in READS}
        return {(reads, name): value for reads, found in looked.items() for name, value in found.items()}


def rows_of(count: int, width: str, hits: Hits) -> list[list[object]]:
    """Rows of one size and number; points, interval and McNemar's p are for images, against the whole."""
    rows = []
    for (reads, name), (images, captions) in hits.items():
        against = ["", "", ""] if name == "whole" else paired(images, hits[reads, "whole"][0]).cells()
        right = share(int(images.sum()), len(images))
        rows.append([count, width, reads, name, right, f"{100 * captions.mean():.1f}", *against])
    return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=int, default=250, help="for each size and number of subjects")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "worth", help="of the reward, and of windows.csv")


def main(options: argparse.Namespace) -> None:
    """Rank, then tell."""
    ranking, rows = WindowRanking(options.folder), list[list[object]]()
    for count in (1, 2):
        for width, radii in RADII.items():
            rows += rows_of(count, width, ranking.of(count, radii, options.pairs))
    tell(HEAD, rows, options.folder / "windows.csv")
