"""The demo reward, taught captions of four objects: the shipped one finds the true one among sixteen in 10 to 15 %.

Half of the hard scenes are twins of others, with one object less or another: what a generator that is asked for too much paints. Captions
alone, each with one thing changed, do not teach that, since none asks for more than an image of four has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sgool.demo.architecture import build_autoencoder
from sgool.demo.captions import hard_negatives
from sgool.demo.loader import reward_folder
from sgool.demo.render import render
from sgool.demo.scenes import draw_scene
from sgool.demo.training.data import detection_targets
from sgool.demo.training.export import export_reward
from sgool.demo.training.judge import detection_loss, spoil
from sgool.demo.training.loop import Schedule, precision, train
from sgool.demo.training.reward import PATCH, RewardWithHead, contrast
from sgool.demo.weights import read as read_weights
from torch import Tensor

from .hard import HARD_KINDS, draw_hard_scene, twin

SCHEDULE = Schedule(steps=1600, rate=8e-4, average=0.995, warmup=100, weight_decay=0.05, save_every=50)
BATCH, NEGATIVES, BINDING, ORDINARY, TWINS, DECODED = 48, 7, 3.0, 12, 18, 24


def load_hard_reward(folder: Path) -> Path:
    """The reward as a transformers folder in ``folder``, trained if it is not there (twenty minutes on one core)."""
    out = folder / "hard-reward"
    if not (out / "preprocessor_config.json").exists():  # what is written last
        export_reward(train_hard_reward(folder), out)
    return out


def start_from_shipped() -> RewardWithHead:
    """The shipped reward, with a head that knows nothing."""
    from transformers import CLIPModel

    model = RewardWithHead()
    model.clip.load_state_dict(CLIPModel.from_pretrained(reward_folder()).float().state_dict())
    return model


def train_hard_reward(folder: Path) -> RewardWithHead:
    """Go on from the shipped reward: a quarter ordinary scenes, the others hard ones and twins; half of all through the autoencoder."""
    torch.manual_seed(42)
    model = start_from_shipped()
    autoencoder: Any = build_autoencoder()
    autoencoder.load_state_dict({name: weight.float() for name, weight in read_weights("vae").items()})

    def loss(generator: torch.Generator) -> Tensor:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        hard = [draw_hard_scene(rng, HARD_KINDS[i % len(HARD_KINDS)]) for i in range(BATCH - ORDINARY - TWINS)]
        scenes = [*(draw_scene(rng) for _ in range(ORDINARY)), *hard, *(twin(scene, rng) for scene in hard[:TWINS])]
        scenes = [scenes[i] for i in rng.permutation(BATCH)]
        images = torch.stack([render(scene) for scene in scenes])
        with torch.no_grad():
            moments = autoencoder.quant_conv(autoencoder.encoder(images[:DECODED] * 2 - 1))
            images[:DECODED] = autoencoder.decode(moments.chunk(2, dim=1)[0]).clamp(-1, 1) / 2 + 0.5
        captions = [(scene.caption, *hard_negatives(scene.caption, NEGATIVES, rng, binding=BINDING)) for scene in scenes]
        with precision(torch.device("cpu")):
            seen, guesses = model.look(spoil(images, generator))
            read = model.read(captions)
        return contrast(seen, read, model.temperature()) + 0.5 * detection_loss(guesses, detection_targets(scenes, PATCH))

    with torch.enable_grad():
        train("hard-reward", model, loss, SCHEDULE, folder, seed=42)
    return model.eval().requires_grad_(False)
