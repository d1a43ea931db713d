"""What is compared: the settings that all images share, the jobs, and what they cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sgool.harness.problems import SetupProblem
from sgool.latent_optimization.presets import DEFAULT_PRESET, Preset, preset

from ..common.jobs import Job, plan
from ..worth.methods import runs_of

DEMO = "demo"
PLAIN, BEST_OF, EDICT, WINNER = "plain", "best-of-N", "EDICT", "winner"
PUBLISHED = ("DOODL", "SGOOL")
METHODS = (PLAIN, BEST_OF, EDICT, *PUBLISHED, WINNER)  # EDICT: the published methods' sampler, not optimized


def option(default: Any, words: str, **more: Any) -> Any:
    """A field that is an option of the command line too, as argparse has it."""
    return field(default=default, metadata={"help": words, "type": type(default), **more})


@dataclass(frozen=True)
class CheckpointComparison:
    """All that decides what the images become.

    Raises:
        SetupProblem: for what cannot be run.
    """

    checkpoint: str
    prompts: tuple[str, ...]
    best_of: int = option(0, "N of best of N (default: as many as cost what the pack's default preset costs)", metavar="N")
    seeds: int = option(1, "seeds for each prompt (default: 1)", metavar="N")
    methods: tuple[str, ...] = option(METHODS, "default: all", nargs="+", choices=METHODS, type=str)
    negative: str = option("", "negative prompt")
    steps: int = option(20, "as in KSampler (default: 20)")
    cfg: float = option(7.5, "as in KSampler (default: 7.5)")
    sampler: str = option("euler", "as in KSampler (default: euler)")
    schedule: str = option("normal", "KSampler's scheduler (default: normal)")
    width: int = option(0, "default: 512, and 64 for the demo model; SDXL wants 1024")
    height: int = option(0, "the same")
    iterations: int = option(-1, "of all methods that optimize (default: each preset's own number)")
    optimized_reward: str = option("", "folder in models/rewards of the servers, or hub:NAME; the demo model has its own", metavar="NAME")
    judging_rewards: tuple[str, ...] = option((), "others that judge, the same way", nargs="*", metavar="NAME", type=str)
    saliency_model: str = option("", "as Load Saliency Model names it (default: the pack's own)", metavar="NAME")
    default: dict[str, Any] = field(default_factory=lambda: {"preset": DEFAULT_PRESET, **preset(DEFAULT_PRESET).to_dict()})

    def __post_init__(self) -> None:
        """Check, and fill in what follows from the rest."""
        if not self.demo and not self.optimized_reward:
            raise SetupProblem("--optimized-reward is missing: the folder in models/rewards that DOODL, SGOOL and the others optimize for.")
        if self.demo and self.optimized_reward:
            raise SetupProblem("the demo model is optimized for its own reward; leave --optimized-reward out.")
        if self.optimized_reward in self.judging_rewards and not self.demo:
            raise SetupProblem(f"{self.optimized_reward} is optimized, so that it cannot judge; give other --judging-rewards, or none.")
        if self.seeds < 1 or not self.prompts:
            raise SetupProblem("--seeds and --most-prompts have to be at least 1.")
        size = 64 if self.demo else 512
        follows: dict[str, Any] = {"width": self.width or size, "height": self.height or size}
        follows["methods"] = tuple(method for method in METHODS if method in self.methods)
        follows["judging_rewards"] = tuple(dict.fromkeys(self.judging_rewards))
        follows["best_of"] = self.best_of or runs_of(self.preset(WINNER).settings)
        for name, value in follows.items():
            object.__setattr__(self, name, value)

    @property
    def demo(self) -> bool:
        """Whether it is the demo model, which has a reward of its own."""
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


def read_prompts(path: Path, most: int | None = None) -> tuple[str, ...]:
    """The prompts of a text file: one a line; empty lines and lines that begin with # are skipped. Raises SetupProblem for none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupProblem(f"{path} cannot be read as a list of prompts (text in UTF-8, one prompt a line): {error}") from None
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise SetupProblem(f"{path} has no prompts in it; write one a line.")
    return tuple(prompts if most is None else prompts[: max(0, most)])
