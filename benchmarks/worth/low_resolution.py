"""A reward that reads fewer pixels than an image has, as CLIP reads 224 of 1024: 16, 24 or 32 of the demo model's 64.

The demo reward, trained further on wholes that are reduced and on windows that are not, both enlarged to the 64 pixels that its network
takes. Sizes are not named: they mean nothing in a window.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sgool.demo.captions import COLOR_NAMES, SHAPES, SIMILAR, Caption, Phrase, hard_negatives, held_out
from sgool.demo.render import render
from sgool.demo.scenes import SIDE, Placed, Scene, relation_between, stand
from sgool.demo.training.judge import spoil
from sgool.demo.training.loop import Schedule, precision, train
from sgool.demo.training.reward import RewardWithHead, contrast
from sgool.image_ops.resize import resize, sample_window
from torch import Tensor

from .hard_reward import start_from_shipped

READS = (16, 24, 32)
RADII = 3.5, 13.0
SCHEDULE = Schedule(steps=700, rate=5e-4, average=0.995, warmup=100, weight_decay=0.05, save_every=100)
BATCH, NEGATIVES = 48, 7


def caption_of(objects: tuple[Placed, ...], relation: str | None = None) -> Caption:
    """What stands there, without sizes; two alike are one phrase."""
    phrases: list[Phrase] = []
    for obj in objects:
        if phrases and (phrases[-1].color, phrases[-1].shape) == (obj.color, obj.shape):
            phrases[-1] = replace(phrases[-1], count=2)
        else:
            phrases.append(Phrase(obj.color, obj.shape))
    return Caption(tuple(phrases), relation if len(phrases) > 1 and phrases[0].count == phrases[1].count == 1 else None)


def draw_subjects(rng: np.random.Generator, count: int, radii: tuple[float, float], *, keep_held_out: bool = False) -> Scene:
    """A scene of ``count`` objects that are all about as large, somewhere."""
    while True:
        kinds = [(str(rng.choice(COLOR_NAMES)), str(rng.choice(SHAPES))) for _ in range(count)]
        if count > 1 and rng.random() < 0.3:
            kinds[1] = str(rng.choice(SIMILAR[kinds[0][0]])), kinds[1][1]
        middle = float(np.exp(rng.uniform(*np.log(radii))))
        placed: list[Placed] = []
        for _ in range(60):
            if len(placed) == count:
                break
            radius = float(np.clip(middle * rng.uniform(0.9, 1.1), *radii))
            found = stand((*kinds[len(placed)], "medium"), radius, placed, rng)
            placed += [] if found is None else [found]
        if len(placed) < count or len(set(kinds)) < count:
            continue
        relation = relation_between(placed[0], placed[1]) if count > 1 and rng.random() < 0.5 else None
        caption = caption_of(tuple(placed), relation)
        if held_out(caption.text()) == keep_held_out:
            return Scene(tuple(placed), caption, int(rng.integers(2**31)))


def reduced(images: Tensor, reads: int) -> Tensor:
    """What is left of square images ``(B, 3, h, h)`` when ``reads`` pixels a side are read, at the 64 that the network takes."""
    return resize(resize(images, (reads, reads)), (SIDE, SIDE))


def _window(scene: Scene, image: Tensor, reads: int, rng: np.random.Generator) -> tuple[Tensor, Caption]:
    """A window with one object wholly in it, and the caption of all whose centers are."""
    around = scene.objects[int(rng.integers(len(scene.objects)))]
    side = float(rng.uniform(min(SIDE, max(reads, 2.2 * around.radius)), min(SIDE, 1.5 * max(reads, 2.2 * around.radius))))
    left, top = (
        float(rng.uniform(max(0.0, at + around.radius - side), min(SIDE - side, at - around.radius))) if side < SIDE else 0.0
        for at in (around.x, around.y)
    )
    seen = tuple(o for o in scene.objects if left < o.x < left + side and top < o.y < top + side)
    window = torch.tensor([top, left, top + side, left + side])
    relation = scene.caption.relation if len(seen) == len(scene.objects) else None
    return sample_window(image[None], window, (reads, reads))[0], caption_of(seen, relation)


def load_low_resolution(folder: Path, least: float = RADII[0]) -> RewardWithHead:
    """The reward's two towers, trained in ``folder`` if they are not there (some minutes on one core); ``least``: of radii."""
    torch.manual_seed(41)
    model = start_from_shipped()

    def loss(generator: torch.Generator) -> Tensor:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        reads = int(rng.choice(READS))
        scenes = [draw_subjects(rng, int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])), (least, RADII[1])) for _ in range(BATCH)]
        painted, captions = [render(scene, clutter=1 + i % 2) for i, scene in enumerate(scenes)], [scene.caption for scene in scenes]
        shown = [resize(image[None], (reads, reads))[0] for image in painted[: BATCH // 2]]
        for i in range(BATCH // 2, BATCH):
            image, captions[i] = _window(scenes[i], painted[i], reads, rng)
            shown.append(image)
        against = [(caption, *hard_negatives(caption, NEGATIVES, rng, binding=2.0)) for caption in captions]
        with precision(torch.device("cpu")):
            seen, _ = model.look(spoil(resize(torch.stack(shown), (SIDE, SIDE)), generator))
            read = model.read(against)
        return contrast(seen, read, model.temperature())

    with torch.enable_grad():
        train("low-resolution" if least == RADII[0] else f"low-resolution-{least}", model, loss, SCHEDULE, folder, seed=41)
    return model.eval().requires_grad_(False)
