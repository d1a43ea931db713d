"""The comparison on real models without a server: what it refuses and counts, its table and sheets, and a server that goes away."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from sgool.benchmarks.common.jobs import Store
from sgool.benchmarks.common.sheets import write_sheets
from sgool.benchmarks.real.comparison import METHODS, CheckpointComparison, read_prompts
from sgool.benchmarks.real.own_server import OwnServer
from sgool.benchmarks.real.table import mean, write_table
from sgool.benchmarks.real_models import sheet_rows
from sgool.harness.client import Client, RunFailed, RunLost
from sgool.harness.problems import SetupProblem
from sgool.latent_optimization.presets import DEFAULT_PRESET, preset

REAL = CheckpointComparison(
    "sd15.safetensors", ("a cat", "a dog", "two birds"), best_of=31, seeds=2, optimized_reward="A", judging_rewards=("B", "pick")
)


def filled(folder: Path, comparison: CheckpointComparison, *, without: int = 0) -> Store:
    """Made-up results: each method is better than the one before by .05, and its images are redder."""
    store = Store(folder, comparison.settings())
    for job in comparison.jobs()[: len(comparison.jobs()) - without]:
        value = 0.2 + 0.01 * job.place + 0.001 * job.seed_number + 0.05 * METHODS.index(job.method)
        Image.new("RGB", (64, 48), (int(400 * value), 90, 90)).save(folder / f"{job.key}.png")
        record = {"scores": {"optimized": value, "B": value / 2, "pick": value / 4}, "seconds": 1.5, "device": "a card"}
        cost = None if job.method == "plain" else {"runs": 11, "backwards": 10, "calls": 220}
        store.add(job, {**record, "cost": cost, "image": f"{job.key}.png", "saliency": f"{job.key}.png"})
    return store


def test_prompts_are_lines_without_comments(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# mine\n\n a cat \n\ufeffa dog\n", encoding="utf-8")
    assert read_prompts(path) == ("a cat", "\ufeffa dog")
    assert read_prompts(path, 1) == ("a cat",)
    assert read_prompts(path, -1) == ()
    path.write_text("# nothing\n")
    with pytest.raises(SetupProblem, match="no prompts in it"):
        read_prompts(path)
    with pytest.raises(SetupProblem, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")


def test_what_cannot_be_compared_is_refused() -> None:
    for changes in ({"prompts": ()}, {"seeds": 0}):
        with pytest.raises(SetupProblem, match="have to be at least 1"):
            replace(REAL, **changes)
    with pytest.raises(SetupProblem, match="--optimized-reward is missing"):
        replace(REAL, optimized_reward="")
    with pytest.raises(SetupProblem, match="A is optimized, so that it cannot judge"):
        replace(REAL, judging_rewards=("B", "A"))


def test_the_table_has_means_differences_and_costs(tmp_path: Path) -> None:
    text = write_table(REAL, filled(tmp_path, REAL))
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}
    # The mean of levels .20 to .221 is .2105; B is half of that, and 100 times the cosine is shown.
    assert "| plain | 6 | 10.53 [10.03, 11.03] | 5.26 [5.01, 5.51] | 21.05 [20.05, 22.05] | - | - | 1.5 |" in text
    assert "| winner" not in text
    assert "| this pack's default | 6 | 23.0" in text
    # Every pair gains the same: the interval has no width, and each image is better.
    assert "| best of 31 | 6 | +2.50 [+2.50, +2.50], better in 6 | +1.25 [+1.25, +1.25], better in 6 | +5.00" in text
    assert "] | 220 | 10 | 1.5 |" in text
    assert "Differences from best of 31" in text
    assert "Differences from EDICT, not optimized" in text
    assert rows["DOODL"].count("better in 6") == 3
    assert "36 of 36 images are there" in text
    seeds_of_one_prompt_are_one_sample = pd.DataFrame({"place": [0, 0, 2], "A": [1.0, 3.0, 5.0]})
    assert mean(seeds_of_one_prompt_are_one_sample, "A").startswith("3.50 [2.00, 5.00]")  # of 2 and 5


def test_best_of_n_costs_what_the_default_preset_does() -> None:
    default = preset(DEFAULT_PRESET)
    assert (default.jacobian.choice, default.settings.smoothing) == ("all", None)  # neither of which is counted
    assert replace(REAL, best_of=0).best_of == 16 + 5 * 3 + 1
    assert replace(REAL, best_of=0, iterations=10).best_of == 16 + 10 * 3 + 1


def test_sheets_show_every_prompt_with_every_method(tmp_path: Path) -> None:
    three = replace(REAL, seeds=3)
    store = filled(tmp_path, three, without=1)  # the last image is not there yet
    sheets = write_sheets(tmp_path / "sheets", sheet_rows(three, store))
    assert [sheet.name for sheet in sheets] == ["sheet-01.jpg", "sheet-02.jpg"]
    with Image.open(sheets[0]) as first:
        pixels = [first.getpixel((round(first.width * (column + 0.5) / 6), round(first.height * 0.07))) for column in range(6)]
    reds = [pixel[0] for pixel in pixels if isinstance(pixel, tuple)]
    assert reds == sorted(reds)  # the colors of the six methods, in the table's order
    assert reds[-1] - reds[0] > 80


class StandIn(Client):
    """A server that is at its one run until that is canceled, or ``error`` is what it answers."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__("http://stand-in")
        self.error, self.canceled = error, list[str]()

    def submit(self, graph: Any) -> str:
        return "a run"

    def outcome(self, run: str) -> None:
        if self.error:
            raise self.error

    def cancel(self, run: str) -> None:
        self.canceled.append(run)
        self.error = RunFailed("interrupted", interrupted=True)


@pytest.mark.parametrize("away", [None, RunLost("gone"), ConnectionRefusedError(111, "refused")])
def test_leaving_cancels_what_is_under_way_and_what_may_still_be(away: Exception | None) -> None:
    owner = OwnServer(CheckpointComparison("demo", ("a cat",), best_of=2))
    owner.client = client = StandIn(away)  # as bring does
    leaving = threading.Timer(0.2, owner.teardown)
    leaving.start()
    with pytest.raises(type(away) if away else RunFailed):
        owner.run({})
    leaving.join()
    assert client.canceled == ["a run"]
