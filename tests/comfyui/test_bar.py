"""What core is told of a bar's moves: its own throttle holds back those below half a percent."""

from __future__ import annotations

from typing import Any

import comfy.utils
import pytest
from sgool.comfy_bridge import progress

pytestmark = pytest.mark.comfyui


def sent_of(monkeypatch: pytest.MonkeyPatch, moves: int, seconds: float) -> list[float]:
    """What reaches the server of a bar that gets from 0 to 1 by ``moves`` in ``seconds``."""
    sent, clock = list[float](), [100.0]

    def hook(value: float, total: float, *_: Any, **__: Any) -> None:
        sent.append(value / total)

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_ENABLED", True)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    bar = progress.Bar(12)
    for number in range(1, moves + 1):
        clock[0] += seconds / moves
        bar.to(number / moves)
    return sent


def test_a_long_run_moves_its_bar_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = sent_of(monkeypatch, 10000, 1000.0)
    assert sent == sorted(set(sent))
    assert (sent[0], sent[-1]) == (0, 1)
    assert len(sent) > 900  # 200 that core would send, each half percent


def test_a_short_run_sends_no_more_than_core_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(sent_of(monkeypatch, 1000, 5.0)) <= 5 / 0.1 + 7
