"""What is compared: the settings that all images share, the jobs, and what they cost."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sgool.harness.problems import SetupProblem

from ..common.jobs import Job, plan
from ..common.optimizer import DEFAULT_PRESET, Preset, default_settings, preset, sampler_runs

DEMO = "demo"
PLAIN, BEST_OF, EDICT, WINNER = "plain", "best-of-N", "EDICT", "winner"
PUBLISHED = ("DOODL", "SGOOL")
METHODS = (PLAIN, BEST_OF, EDICT, *PUBLISHED, WINNER)  # EDICT: the published methods' sampler, not optimized
CALLS_A_STEP = 2  # of EDICT


@dataclass(frozen=True)
class Comparison:
    """All that decides what the images become.

    Args:
        checkpoint: as CheckpointLoaderSimple names it, or ``"demo"`` for the demo model.
        prompts, seeds, methods: the jobs are all their combinations.
        iterations: of the methods that optimize; -1 is each preset's own number.
        best_of: N of best-of-N; 0: as many as cost what the default preset costs.
        optimized_reward: folder in models/rewards, or ``hub:NAME``; not used by the demo model, which has its own.
        judging_rewards: the same, any number.
        saliency_model: as SGOOL_LoadSaliencyModel names it, or empty for the default predictor.
    """

    checkpoint: str
    prompts: tuple[str, ...]
    best_of: int = 0
    seeds: int = 1
    methods: tuple[str, ...] = METHODS
    negative: str = ""
    steps: int = 20
    cfg: float = 7.5
    sampler: str = "euler"
    scheduler: str = "normal"
    width: int = 512
    height: int = 512
    iterations: int = -1
    optimized_reward: str = ""
    judging_rewards: tuple[str, ...] = ()
    saliency_model: str = ""
    default: dict[str, Any] = field(default_factory=default_settings)

    def __post_init__(self) -> None:
        """Fill in what follows from the rest."""
        if not self.best_of:
            object.__setattr__(self, "best_of", math.ceil(self._samples(WINNER)))

    @property
    def demo(self) -> bool:
        """Whether it is the demo model, which has a judge."""
        return self.checkpoint == DEMO

    @property
    def rewards(self) -> list[str]:
        """The rewards that judge, in the order of the columns, then the one that was optimized."""
        return [*self.judging_rewards, "optimized"]

    def jobs(self) -> list[Job]:
        """One for each image."""
        return plan([(prompt,) for prompt in self.prompts], self.seeds, self.methods)

    def settings(self) -> dict[str, Any]:
        """What a folder of results remembers. Seeds and methods may become more or fewer: each image stays what it was."""
        return {name: value for name, value in asdict(self).items() if name not in ("seeds", "methods")}

    def title(self, method: str) -> str:
        """What a method's row is called."""
        return {BEST_OF: f"best of {self.best_of}", EDICT: "EDICT, not optimized", WINNER: "this pack's default"}.get(method, method)

    def column(self, reward: str) -> str:
        """What a reward's column is called."""
        optimized = "the demo model's reward" if self.demo else self.optimized_reward
        return f"{optimized} (optimized)" if reward == "optimized" else reward

    def preset(self, method: str) -> Preset:
        """What *SGOOL KSampler* is told for a method that it runs."""
        of = preset({EDICT: PUBLISHED[0], WINNER: DEFAULT_PRESET}.get(method, method))
        iterations = 0 if method == EDICT else self.iterations
        return of if iterations < 0 else replace(of, settings=replace(of.settings, iterations=iterations))

    def plain_samples(self, method: str) -> float:
        """What an image of a method costs, in plain samples of the same size. Decoding and scoring are not in it, nor samplers that call
        the model more than once a step."""
        return {PLAIN: 1.0, BEST_OF: float(self.best_of)}.get(method) or self._samples(method)

    def _samples(self, method: str) -> float:
        of = self.preset(method)
        calls = CALLS_A_STEP * of.procedure.steps if of.procedure else self.steps
        return sampler_runs(of, calls) * calls / self.steps

    def estimate(self) -> str:
        """A sentence for the user, before a run that may take days."""
        each = {method: self.plain_samples(method) for method in self.methods}
        parts = ", ".join(f"{method} {cost:.0f}" for method, cost in each.items())
        total = sum(each.values()) * len(self.prompts) * self.seeds
        return (
            f"In plain samples, a prompt and seed cost about {sum(each.values()):.0f} ({parts}), all of it {total:.0f}: at one second for "
            f"a plain sample {total / 3600:.1f} hours, on one server. Decoding and scoring come on top."
        )


def read_prompts(path: Path, most: int | None = None) -> tuple[str, ...]:
    """The prompts of a text file: one a line; empty lines and lines that begin with # are skipped. Raises SetupProblem for none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupProblem(f"{path} cannot be read as a list of prompts (text in UTF-8, one prompt a line): {error}") from None
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise SetupProblem(f"{path} has no prompts in it; write one a line.")
    return tuple(prompts[:most])
