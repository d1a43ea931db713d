"""The paper-style table of a run, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..common.jobs import Record, Store
from ..common.markdown import table
from ..common.statistics import mean_interval
from .comparison import BEST_OF, EDICT, METHODS, PLAIN, PUBLISHED, WINNER, CheckpointComparison

IMAGE = ["place", "seed_number"]
COMPARED = {PLAIN: METHODS[1:], BEST_OF: (*PUBLISHED, WINNER), EDICT: PUBLISHED}
READING = (
    "Scores are 100 times the cosine of image and prompt; only numbers of one column can be compared. "
    "The optimized reward's says how well the optimizer pleased it, not whether images became better: read the others. "
    "In brackets: 95 % bootstrap intervals over prompts (the mean of a prompt's seeds is one sample). "
    "An interval of differences that spans 0 shows nothing either way. "
    "Model calls and gradients through the sampler are for one image, as the node counts them; KSampler does not. "
    "Few prompts (under 50) find large effects only."
)


def write_table(comparison: CheckpointComparison, store: Store) -> str:
    """Everything in one text: what was run, the means, the differences from plain sampling, how to read it."""
    images, every = frame(comparison, store), comparison.jobs()
    options = {name: value for name, value in comparison.settings().items() if value not in ("", ()) and name not in ("prompts", "default")}
    devices = "; ".join(sorted(set(images.device))) or "nothing yet"
    blocks = [
        f"# {'The demo model' if comparison.demo else comparison.checkpoint}\n\n"
        f"{len(comparison.prompts)} prompts x {comparison.seeds} seeds; "
        + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in options.items())
        + f". {len(images)} of {len(every)} images are there. On {devices}.",
    ]
    if len(images):
        blocks += [_means(comparison, images), *_differences(comparison, images)]
    return "\n\n".join([*blocks, READING]) + "\n"


def frame(comparison: CheckpointComparison, store: Store) -> pd.DataFrame:
    """A row for each image that did not fail: its scores (100 times the cosine), seconds, and what it cost."""
    parts = ("method", *IMAGE, "seconds", "device")
    rows = [{**{name: record[name] for name in parts}, **shown(record), **(record["cost"] or {})} for record in store.of(comparison.jobs())]
    return pd.DataFrame(rows, columns=[*parts, *comparison.rewards, "calls", "backwards"])


def shown(record: Record) -> dict[str, float]:
    """Scores as tables and sheets have them: 100 times the cosine."""
    return {reward: 100 * cosine for reward, cosine in record["scores"].items()}


def mean(images: pd.DataFrame, column: str, form: str = ".2f") -> str:
    """With its interval. The mean of each prompt's seeds counts once: images of one prompt are no independent samples, prompts are."""
    samples = images.groupby("place")[column].mean()
    low, high = mean_interval(samples.tolist())
    return f"{samples.mean():{form}} [{low:{form}}, {high:{form}}]"


def _means(comparison: CheckpointComparison, images: pd.DataFrame) -> str:
    head = ["method", "images", *map(comparison.column, comparison.rewards), "model calls", "gradients", "seconds (median)"]
    rows = []
    for method in comparison.methods:
        if len(own := images[images.method == method]):
            counts = ["-" if own[name].isna().all() else f"{own[name].mean():.0f}" for name in ("calls", "backwards")]
            scores = (mean(own, reward) for reward in comparison.rewards)
            rows.append([comparison.title(method), len(own), *scores, *counts, f"{own.seconds.median():.1f}"])
    return "## Means\n\n" + table(head, rows)


def _differences(comparison: CheckpointComparison, images: pd.DataFrame) -> Iterator[str]:
    """Against each reference: plain sampling, the search that costs as much as the default, and the published methods' own sampler."""
    scores = {method: own.set_index(IMAGE)[comparison.rewards] for method, own in images.groupby("method")}
    for reference, others in COMPARED.items():
        rows = []
        for method in others:
            if method in scores and reference in scores and len(gain := (scores[method] - scores[reference]).dropna()):
                cells = (f"{mean(gain, reward, '+.2f')}, better in {(gain[reward] > 0).sum()}" for reward in gain)
                rows.append([comparison.title(method), len(gain), *cells])
        if rows:
            head = ["method", "pairs", *map(comparison.column, comparison.rewards)]
            yield f"## Differences from {comparison.title(reference)}, same prompt and seed\n\n" + table(head, rows)
