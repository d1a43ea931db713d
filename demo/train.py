"""Train the demo model again: ``python run.py train``. Stops and resumes anywhere; each part once done is kept."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .training.autoencoder import decode_all, encode_all, train_autoencoder
from .training.data import FreshScenes, Scenes, Source, load_scenes, write_report
from .training.evaluation import report
from .training.export import export
from .training.few_steps import PATHS, LoRA, export_few_steps, train_few_steps
from .training.generator import Generator, latent_scale, train_generator
from .training.judge import train_judge
from .training.parts import DemoParts, Painter
from .training.rerender import rerender
from .training.reward import RewardWithHead, train_reward

PARTS = (
    "autoencoder",
    "judge",
    "reward",
    "binding reward",
    "generator",
    "tuned reward",
    "placing reward",
    "general reward",
    "few steps",
    "export",
    "report",
)
SCENES, HELD_OUT, RERENDERED = 60_000, 2_000, 8_000


@dataclass
class Workshop:
    """The training folder and what each part needs of the others, made when first asked for."""

    folder: Path
    device: torch.device

    def __post_init__(self) -> None:
        self.data = load_scenes(self.folder, SCENES)
        self.held = load_scenes(self.folder, HELD_OUT, held_out=True)
        self.captions = [scene.caption.text() for scene in self.data.scenes]

    def autoencoder(self) -> torch.nn.Module:
        return train_autoencoder(self.folder, self.data, self.device)

    def latents(self) -> np.ndarray:
        return encode_all(self.autoencoder(), self.data, self.folder / f"latents-{SCENES}.npy", self.device)

    def decoded(self) -> np.ndarray:
        return decode_all(self.autoencoder(), self.latents(), self.folder / f"decoded-{SCENES}.npy", self.device)

    def held_decoded(self) -> Scenes:
        latents = encode_all(self.autoencoder(), self.held, self.folder / f"held-latents-{HELD_OUT}.npy", self.device)
        images = decode_all(self.autoencoder(), latents, self.folder / f"held-decoded-{HELD_OUT}.npy", self.device)
        return Scenes(self.held.scenes, images)

    def judge(self) -> torch.nn.Module:
        return train_judge(self.folder, self.data, self.decoded(), self.device)

    def _reward_leg(self, leg: str, sources: Sequence[Source], start: RewardWithHead | None = None) -> RewardWithHead:
        return train_reward(leg, self.folder, sources, start=start, device=self.device)

    def decoded_scenes(self) -> Scenes:
        return Scenes(self.data.scenes, self.decoded())

    def reward(self) -> RewardWithHead:
        return self._reward_leg("reward", [self.data])

    def binding_reward(self) -> RewardWithHead:
        return self._reward_leg("binding-reward", [self.data, self.decoded_scenes()], self.reward())

    def generator(self) -> Generator:
        latents = self.latents()
        return train_generator(self.folder, latents, self.captions, latent_scale(latents), self.device)

    def painter(self) -> Painter:
        return Painter(self.generator().cpu().eval(), self.autoencoder().cpu().eval(), latent_scale(self.latents()))

    def repainted(self) -> Scenes:
        path = self.folder / f"rerendered-{RERENDERED}.npy"
        images = rerender(self.painter(), self.latents()[:RERENDERED], self.captions[:RERENDERED], path)
        return Scenes(self.data.scenes[:RERENDERED], images)

    def all_sources(self) -> list[Scenes]:
        return [self.data, self.decoded_scenes(), self.repainted(), self.repainted()]

    def tuned_reward(self) -> RewardWithHead:
        return self._reward_leg("tuned-reward", self.all_sources(), self.binding_reward())

    def placing_reward(self) -> RewardWithHead:
        once = self._reward_leg("placing-reward", self.all_sources(), self.tuned_reward())
        again = self._reward_leg("placing-reward-again", self.all_sources(), once)
        return self._reward_leg("final-reward", self.all_sources(), again)

    def general_reward(self) -> RewardWithHead:
        sources: list[Source] = [FreshScenes(), FreshScenes(), self.decoded_scenes(), self.repainted()]
        return self._reward_leg("general-reward", sources, self.placing_reward())

    def few_steps(self) -> LoRA:
        return train_few_steps(self.folder, self.generator().cpu().eval(), self.captions[:PATHS])

    def parts(self) -> DemoParts:
        return DemoParts(self.painter(), self.general_reward().cpu().eval(), self.judge().cpu().eval())

    def export(self) -> None:
        export(self.parts(), self.latents())
        export_few_steps(self.few_steps())

    def report(self) -> None:
        write_report(self.folder / "report.json", **report(self.parts(), self.held, self.held_decoded()))
        print((self.folder / "report.json").read_text())


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every part, or the named ones and what they need."""
    parser = argparse.ArgumentParser(prog="run.py train", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of: {', '.join(PARTS)}; all by default")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "training", help="where checkpoints and images are kept (3 GB)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part called {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    torch.set_num_threads(options.threads)
    workshop = Workshop(options.folder, torch.device(options.device))
    for part in options.parts or PARTS:
        getattr(workshop, part.replace(" ", "_"))()


if __name__ == "__main__":
    main()
