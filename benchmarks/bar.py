"""How evenly the progress bar moves, and what bar, text and preview cost.

    python run.py bench bar                 about 100 s of processor time a pair; --pairs N for more than 3
    python run.py bench bar --large-vae 64 --only KSampler --pairs 1    beside a VAE of Stable Diffusion's size: minutes

On the demo model, whose runs are short: of a real one's they are a smaller part. All times are the processor's in this process, which other
programs change little, and messages are encoded as ComfyUI's server encodes them. The cost is said twice: as the share of a run that is
spent in the code for it, and as the ratio of runs with it to runs without, in turns.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import comfy.cli_args
import comfy.samplers
import comfy.utils
import torch
from comfy_execution.utils import CurrentNodeContext
from comfy_extras.nodes_custom_sampler import SamplerCustom
from PIL import ImageOps
from sgool.comfy_bridge import best_of_n, sgool_sampler
from sgool.latent_optimization.along_the_way import AlongTheWay
from sgool.latent_optimization.work import Ticks
from sgool.nodes.best_of import BestOfN
from sgool.nodes.demo import LoadDemoModel
from sgool.nodes.guidance import SaliencyCLIPLossNode
from sgool.nodes.sampling import SGOOLKSamplerNode, SGOOLSamplerNode

import nodes

from .common.markdown import table
from .common.measuring import seconds, sigmas_of
from .common.real_sizes import real_vae

PROMPT, STEPS = "a small red circle left of a large blue ring and a green cross", 12
PLACES = [(sgool_sampler, "RunProgress"), (best_of_n, "Bar"), (best_of_n, "Text")]
HEAD = ["node", "run (s)", "from 0 to the end, never back", "longest stand", "bar from time", "bar and text", "with preview"]
HEAD += ["with / without"]
Run = Callable[[], Any]


@dataclass
class WatchedRun:
    """Stands in for ComfyUI's server: encodes what it would send, and notes when the bar moved and how far it was.

    Attributes:
        moves: moment and share of each move.
        inside: seconds in the code for bar, text and preview.
        began, ended: of the run.
    """

    client_id: str = "page"
    moves: list[tuple[float, float]] = field(default_factory=list)
    inside: float = 0.0
    began: float = 0.0
    ended: float = 0.0

    def hook(self, value: float, total: float, preview: Any = None, **_: Any) -> None:
        """As ``comfy.utils.ProgressBar`` calls it."""
        self.moves.append((time.process_time(), value / total))
        json.dumps({"type": "progress", "data": {"value": value, "max": total, "prompt_id": "0" * 36, "node": "run"}})
        if preview is not None:
            _, image, size = preview
            ImageOps.contain(image, (size, size)).save(io.BytesIO(), format="JPEG", quality=95)

    def send_progress_text(self, text: str, *_: Any) -> None:
        """As ``PromptServer`` has it."""
        text.encode()

    def timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, whose time is counted as ``inside``."""

        def call(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return method(*given, **named)
            finally:
                self.inside += time.process_time() - began

        return call

    @property
    def seconds(self) -> float:
        """Of the run."""
        return self.ended - self.began

    def pace(self) -> tuple[float, float, bool]:
        """The longest stand, and the most that bar and time were apart, both as shares of the run; then whether it went from 0 to 1."""
        advances = [(self.began, 0.0)]
        for moment, share in self.moves:
            if share > advances[-1][1]:
                advances.append((moment, share))
        moments = [moment for moment, _ in advances] + [self.ended]
        stand = max(after - before for before, after in itertools.pairwise(moments))
        apart = max(abs((moment - self.began) / self.seconds - share) for moment, share in advances)
        shares = [share for _, share in self.moves]
        return stand / self.seconds, apart, shares == sorted(shares) and (shares[0], shares[-1]) == (0, 1)


class _Timed:
    """An object whose methods' time is counted."""

    def __init__(self, inner: Any, page: WatchedRun) -> None:
        self._inner, self._page = inner, page

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if isinstance(found, Ticks):
            return _Timed(found, self._page)
        return self._page.timed(found) if callable(found) and name != "part" else found


class _Nothing:
    """In the place of a bar, a text or a run's progress: takes every call and does nothing."""

    seconds, along_the_way = 0.0, AlongTheWay(0)
    decoding = score_in_backward = Ticks(0.0, lambda _: None)

    def __init__(self, *_: Any) -> None:
        pass

    def part(self, *_: Any) -> Any:
        return nullcontext()

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


@contextmanager
def shown(page: WatchedRun, preview: bool) -> Iterator[None]:
    """Bar and text go to ``page``, and, where wanted, the preview."""
    server = types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=page))
    method = comfy.cli_args.LatentPreviewMethod.Auto if preview else comfy.cli_args.LatentPreviewMethod.NoPreviews
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(sys.modules, {"server": server}))
        stack.enter_context(mock.patch.object(comfy.utils, "PROGRESS_BAR_HOOK", page.hook))
        stack.enter_context(mock.patch.object(comfy.cli_args.args, "preview_method", method))
        for module, name in PLACES:
            kind = getattr(module, name)
            made = lambda *given, kind=kind: _Timed(kind(*given), page)  # noqa: E731
            stack.enter_context(mock.patch.object(module, name, made))
        stack.enter_context(CurrentNodeContext("0", "run"))
        yield


def watched(run: Run, preview: bool) -> WatchedRun:
    """A run with everything shown."""
    page = WatchedRun()
    with shown(page, preview):
        page.began = time.process_time()
        run()
        page.ended = time.process_time()
    return page


def plain(run: Run) -> float:
    """Seconds of a run with neither bar nor text nor preview, and nothing counted for them."""
    with ExitStack() as stack:
        for module, name in PLACES:
            stack.enter_context(mock.patch.object(module, name, _Nothing))
        return seconds(run)


def runs(large_vae: int = 0) -> dict[str, Run]:
    """What is measured: each node with the widgets that it opens with, but 12 steps.

    ``large_vae``: the side of the images that a VAE of Stable Diffusion's size, with weights from a seed, decodes in place of the demo's.
    """
    model, clip, vae, reward = LoadDemoModel.execute().result
    vae = real_vae(16, "fp32") if large_vae else vae
    (positive,), (negative,) = (nodes.CLIPTextEncode().encode(clip, text) for text in (PROMPT, ""))
    latent = {"samples": torch.zeros(1, 16, (large_vae or 64) // 8, (large_vae or 64) // 8)}
    objective = SaliencyCLIPLossNode.execute(reward=reward, prompt=PROMPT).result[0]
    judged: dict[str, Any] = {"objective": objective, "vae": vae}
    ends: dict[str, Any] = {"model": model, "positive": positive, "negative": negative, "latent_image": latent}
    numbers: dict[str, Any] = {"seed": 1, "steps": STEPS, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    preset: dict[str, Any] = {"preset": "search first", "iterations": 5}

    def sampler() -> Any:
        euler = comfy.samplers.sampler_object("euler")
        made = SGOOLSamplerNode.execute(sampler=euler, **judged, preset=preset, held_out=objective).result[0]
        return SamplerCustom.execute(model, True, 1, 3.0, positive, negative, made, sigmas_of(model, STEPS), latent)

    return {
        "SGOOL KSampler": lambda: SGOOLKSamplerNode.execute(**ends, **numbers, **judged, preset=preset),
        "SGOOL Sampler, `held_out`": sampler,
        "Best of N, 16 seeds": lambda: BestOfN.execute(**ends, **numbers, **judged, seeds=16, keep=4, halving=False),
        "Best of N, 16 seeds, `halving`": lambda: BestOfN.execute(**ends, **numbers, **judged, seeds=16, keep=4, halving=True),
    }


def row(name: str, run: Run, pairs: int) -> list[str]:
    """A line of the table."""
    run()  # warm
    pages, ratios = list[WatchedRun](), list[float]()
    for number in range(pairs):
        without = [plain(run)] if number % 2 else []
        pages.append(watched(run, preview=True))
        without = without or [plain(run)]
        ratios.append(pages[-1].seconds / without[0])
    unseen = watched(run, preview=False)
    paces = [page.pace() for page in [*pages, unseen]]
    stand, apart = (max(values) for values in list(zip(*paces, strict=True))[:2])
    inside = statistics.median(page.inside / page.seconds for page in pages)
    shares = [f"{100 * share:.1f} %" for share in (stand, apart, unseen.inside / unseen.seconds, inside)]
    taken = statistics.median(page.seconds for page in pages)
    even = "yes" if all(good for *_, good in paces) else "no"
    found = [name, f"{taken:.1f}", even, *shares, f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"]
    print(" | ".join(found), flush=True)
    return found


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=int, default=3, help="runs with and runs without, in turns")
    parser.add_argument("--large-vae", type=int, default=0, metavar="SIDE", help="a VAE of SD 1.5's size decodes images of SIDE pixels")
    parser.add_argument("--only", default="", help="the nodes whose name has this in it")


def main(options: argparse.Namespace) -> None:
    """Print the table."""
    with torch.inference_mode():
        rows = [row(name, run, options.pairs) for name, run in runs(options.large_vae).items() if options.only in name]
    print(table(HEAD, rows))
