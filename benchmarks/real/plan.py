"""What is to be run: the settings that all images share, and one job for each image."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sgool.harness.problems import SetupProblem

DEMO = "demo"
PLAIN, BEST_OF, EDICT, WINNER = "plain", "best-of-N", "EDICT", "winner"
PUBLISHED = ("DOODL", "SGOOL")
METHODS = (PLAIN, BEST_OF, EDICT, *PUBLISHED, WINNER)  # EDICT: the published methods' sampler, not optimized
SEEDS_A_PROMPT = 1000  # room between the seeds of one prompt and those of the next


@dataclass(frozen=True)
class Job:
    """One image: a prompt, a seed and a method."""

    prompt_index: int
    prompt: str
    seed_number: int
    method: str

    @property
    def key(self) -> str:
        """Names the job in the results, and its files."""
        return f"{self.prompt_index:04d}-{self.seed_number:02d}-{self.method}"

    @property
    def seed(self) -> int:
        """The same for all methods, so that they begin with the same noise."""
        return self.prompt_index * SEEDS_A_PROMPT + self.seed_number


@dataclass(frozen=True)
class Plan:
    """All that decides what the images become. Two runs with equal plans can be compared and resumed.

    Args:
        checkpoint: as CheckpointLoaderSimple names it, or ``"demo"`` for the demo model.
        prompts, seeds, methods: the jobs are all their combinations.
        iterations: of the methods that optimize; -1 is each preset's own number.
        best_of: N of best-of-N.
        optimized_scorer: folder in models/clip_scorers, or ``hub:NAME``; not used by the demo model, which has its own.
        judging_scorers: the same, any number.
        saliency_model: as SGOOL_LoadSaliencyModel names it, or empty for the default predictor.
        default: the settings of the pack's default preset, so that a run is not gone on with after they have changed.
    """

    checkpoint: str
    prompts: tuple[str, ...]
    best_of: int
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
    optimized_scorer: str = ""
    judging_scorers: tuple[str, ...] = field(default_factory=tuple)
    saliency_model: str = ""
    default: dict[str, Any] = field(default_factory=dict)

    @property
    def demo(self) -> bool:
        """Whether it is the demo model, which has a judge."""
        return self.checkpoint == DEMO

    def jobs(self) -> list[Job]:
        """Every job. A run that is stopped early has whole prompts: all methods of one, then the next; then the next seed."""
        return [
            Job(index, prompt, number, method)
            for number in range(self.seeds)
            for index, prompt in enumerate(self.prompts)
            for method in self.methods
        ]

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


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


def what_differs(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why a folder that was begun with the plan ``old`` cannot go on with ``new``: a sentence each.

    More prompts at the end, more seeds and other methods are fine, since each image stays what it was.
    """
    sentences = []
    for name in sorted({*old, *new} - {"seeds", "methods", "prompts"}):
        if old.get(name) != new.get(name):
            sentences.append(f"{name} was {old.get(name)!r} and is {new.get(name)!r}")
    for index, (before, now) in enumerate(zip(old.get("prompts", ()), new.get("prompts", ()), strict=False), start=1):
        if before != now:
            sentences.append(f"prompt {index} was {before!r} and is {now!r}")
            break
    return sentences
