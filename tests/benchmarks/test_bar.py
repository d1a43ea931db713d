"""What `bench bar` says of a bar's moves."""

from __future__ import annotations

import pytest
import torch
from sgool.benchmarks import bar
from sgool.benchmarks.bar import WatchedRun

pytestmark = pytest.mark.comfyui


def test_an_even_bar() -> None:
    page = WatchedRun(moves=[(10.0, 0.0), (11.0, 0.25), (12.0, 0.5), (13.0, 0.75), (14.0, 1.0)], began=10.0, ended=14.0)
    assert page.pace() == (0.25, 0.0, True)


def test_a_bar_that_stands_is_early_and_goes_back() -> None:
    page = WatchedRun(moves=[(10.0, 0.0), (11.0, 0.75), (12.0, 0.7), (13.0, 0.75), (20.0, 1.0)], began=10.0, ended=20.0)
    stand, apart, even = page.pace()
    assert (stand, even) == (0.9, False)  # from .75 on, whatever was said in between
    assert apart == pytest.approx(0.65)


def test_time_inside_is_that_of_what_is_timed() -> None:
    page = WatchedRun()
    assert page.timed(lambda number: sum(range(number)))(10**6) == 499999500000
    assert 0 < page.inside < 10


def test_a_node_runs_with_everything_shown_and_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar, "STEPS", 1)
    with torch.inference_mode():
        run = bar.runs()["SGOOL KSampler"]
        assert bar.plain(run) > 0
        shown = bar.watched(run, preview=False)
    assert shown.pace()[2]
    assert 0 < shown.inside < shown.seconds
