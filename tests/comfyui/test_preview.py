"""How much of a run its preview takes, by a clock that only goes on when something is done; and how large it is."""

from __future__ import annotations

from collections.abc import Callable

import comfy.cli_args
import comfy.utils
import pytest
import torch
from PIL import Image
from sgool.comfy_bridge.preview import Preview, to_preview
from sgool.comfy_bridge.progress import Bar

pytestmark = pytest.mark.comfyui

MOVES = 22  # of a search of 16 noises and 5 iterations


class Run:
    """A run of ``seconds`` that has something new to show after each of its moves, which takes ``cost(number)`` seconds to draw."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, cost: Callable[[int], float]) -> None:
        self.now, self.cost, self.drawn, self.shown_at = 0.0, cost, 0, list[float]()
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", self.hook)
        monkeypatch.setattr(comfy.cli_args.args, "preview_method", comfy.cli_args.LatentPreviewMethod.Auto)
        bar = Bar(12)
        for number in range(1, MOVES + 1):
            self.now += seconds / MOVES
            bar.to(number / MOVES, self.draw)
        self.spent = self.now - seconds

    def draw(self) -> Preview:
        self.now += self.cost(self.drawn)
        self.drawn += 1
        return ("JPEG", Image.new("RGB", (1, 1)), 1)

    def hook(self, _value: float, _total: float, preview: Preview | None = None, **_: object) -> None:
        if preview is not None:
            self.shown_at.append(self.now)


@pytest.mark.parametrize("seconds", [0.3, 2.0, 7.0, 60.0, 3600.0])
@pytest.mark.parametrize("each", [0.001, 0.005, 0.02, 0.1])
def test_previews_stay_within_their_share(monkeypatch: pytest.MonkeyPatch, seconds: float, each: float) -> None:
    """The first one's cost is not known before: there it may be more by what it takes longer than was expected, here .01 s."""
    run = Run(monkeypatch, seconds, lambda _: each)
    assert run.spent <= 0.015 * seconds + max(0.0, each - 0.01)
    assert run.drawn == len(run.shown_at)


def test_a_slow_run_shows_everything_from_its_first_move_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, 220.0, lambda _: 0.05)
    assert run.drawn == MOVES
    assert run.shown_at[0] == pytest.approx(10.05)


def test_a_fast_run_begins_early_and_leaves_some_out(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, 7.0, lambda _: 0.01)
    assert run.shown_at[0] < 1
    assert 8 <= run.drawn <= 10  # 7 s * 1.5 % / .01 s
    assert run.shown_at[-1] > 6


def test_what_took_long_once_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, 60.0, lambda number: 0.4 if number == 3 else 0.01)
    assert 5 <= run.drawn < MOVES
    assert run.spent <= 0.015 * run.now


def test_nothing_is_drawn_where_previews_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfy.cli_args.args, "preview_method", comfy.cli_args.LatentPreviewMethod.NoPreviews)
    assert not Bar(1).to(1.0, lambda: pytest.fail("was drawn"))


def test_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    method = comfy.cli_args.LatentPreviewMethod
    monkeypatch.setattr(comfy.cli_args.args, "preview_method", method.Latent2RGB)
    assert to_preview([]) is None
    red = torch.zeros(3, 8, 6)
    red[0] = 1
    preview = to_preview([[red] * 6])
    assert preview is not None
    kind, image, size = preview
    assert kind == "JPEG"
    assert 256 < size == max(image.size) <= 1024  # core would enlarge it to more
    assert image.width == 3 * image.height
    assert image.getpixel((0, 0)) == (255, 0, 0)
    beside, below = to_preview([[red], [red]]), to_preview([[red] * 2, [red] * 2])
    assert beside is not None
    assert below is not None
    assert beside[1].width * 8 == beside[1].height * 12
    assert below[1].width * 16 == below[1].height * 12
    monkeypatch.setattr(comfy.cli_args.args, "preview_method", method.NoPreviews)
    assert to_preview([[red]]) is None
