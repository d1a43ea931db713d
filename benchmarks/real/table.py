"""The paper-style table of a run, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..common.jobs import Record, Store
from ..common.markdown import table
from ..common.optimizer import DEFAULT_PRESET, evaluations, preset
from ..common.statistics import mean_interval
from .comparison import BEST_OF, EDICT, METHODS, PLAIN, PUBLISHED, WINNER, Comparison

IMAGE = ["place", "seed_number"]
SAME_SAMPLER = {PLAIN: [BEST_OF], EDICT: [*PUBLISHED]}  # of those that do not tell what they cost
COMPARED = {PLAIN: METHODS[1:], BEST_OF: (*PUBLISHED, WINNER), EDICT: PUBLISHED}
READING = (
    "Scores are 100 times the cosine of image and prompt; only numbers of one column can be compared. "
    "In brackets: 95 % bootstrap intervals over prompts (the mean of a prompt's seeds is one sample). "
    "An interval of differences that spans 0 shows nothing either way. "
    "Model calls are for one image, a gradient's backward counted as two."
)


def write_table(comparison: Comparison, store: Store) -> str:
    """Everything in one text: what was run, the means, the differences from plain sampling, what failed, how to read it."""
    images = frame(comparison, store)
    few = f" {len(comparison.prompts)} prompts are few: such a table finds large effects only." if len(comparison.prompts) < 50 else ""
    blocks = [_heading(comparison, store), *_warnings(comparison), _means(comparison, images), *_differences(comparison, images)]
    return "\n\n".join([*blocks, *_failures(comparison, store), READING + few]) + "\n"


def frame(comparison: Comparison, store: Store) -> pd.DataFrame:
    """A row for each image that did not fail: its scores (100 times the cosine), seconds, model calls in all and in a run."""
    rows = [
        {name: record[name] for name in ("method", *IMAGE, "seconds")}
        | {reward: score(record, reward) for reward in comparison.rewards}
        | {"calls": calls(record), "calls of a run": record["cost"]["calls"] / record["cost"]["runs"] if record["cost"] else None}
        for record in store.of(comparison.jobs())
    ]
    columns = ["method", *IMAGE, "seconds", *comparison.rewards, "calls", "calls of a run"]
    return pd.DataFrame(rows, columns=columns).astype({"calls": float, "calls of a run": float})


def score(record: Record, reward: str) -> float:
    """100 times the cosine."""
    return 100 * float(record["optimized"] if reward == "optimized" else record["scores"][reward])


def calls(record: Record) -> float | None:
    """Model evaluations of one image, a backward counted as two; None where the method does not tell."""
    cost, method = record.get("cost"), record["method"]
    return evaluations(preset(method if method in PUBLISHED else DEFAULT_PRESET), cost) if cost else None


def mean(images: pd.DataFrame, column: str, form: str = ".2f") -> str:
    """With its interval. The mean of each prompt's seeds counts once: images of one prompt are no independent samples, prompts are."""
    samples = images.groupby("place")[column].mean()
    low, high = mean_interval(samples.tolist())
    return f"{samples.mean():{form}} [{low:{form}}, {high:{form}}]"


def _heading(comparison: Comparison, store: Store) -> str:
    every = comparison.jobs()
    devices = sorted({record["device"] for record in store.of(every) if record.get("device")})
    iterations = "each preset's own number of" if comparison.iterations < 0 else comparison.iterations
    size = f"{comparison.width} x {comparison.height}, {comparison.sampler}, {comparison.scheduler}"
    return (
        f"# {'The demo model' if comparison.demo else comparison.checkpoint}\n\n"
        f"{len(comparison.prompts)} prompts x {comparison.seeds} seeds, {size}, {comparison.steps} steps, CFG {comparison.cfg:g}; "
        f"{iterations} iterations. {len(every) - len(store.missing(every))} of {len(every)} images are there.\n"
        f"Optimized: {comparison.column('optimized').removesuffix(' (optimized)')}. Saliency: "
        f"{comparison.saliency_model or 'the default predictor'}. On {', '.join(devices) or 'nothing yet'}."
    )


def _warnings(comparison: Comparison) -> Iterator[str]:
    if comparison.optimized_reward in comparison.judging_rewards and not comparison.demo:
        yield (
            f"**Warning: {comparison.optimized_reward} is both optimized and judging.** Its column says how well the optimizer pleased it, "
            "not whether images became better. Read the other columns, or run again with another reward."
        )
    if not comparison.judging_rewards:
        yield (
            "**There is no reward here but the one that was optimized**, so its column is no independent figure; this table cannot tell a "
            "better image from a fooled reward." + " `bench is_it_worth_it` has a judge for the demo model." * comparison.demo
        )


def _means(comparison: Comparison, images: pd.DataFrame) -> str:
    head = ["method", "images", *map(comparison.column, comparison.rewards), "model calls", "seconds (median)"]
    rows = []
    for method in comparison.methods:
        own, row = images[images.method == method], [comparison.title(method)]
        if own.empty:
            rows.append([*row, "0", *["-"] * (len(head) - 2)])
            continue
        made = own.calls.mean()
        if np.isnan(made):  # counted where the same sampler runs in another method
            made = images[images.method.isin(SAME_SAMPLER.get(method, []))]["calls of a run"].mean()
        row += [str(len(own)), *(mean(own, reward) for reward in comparison.rewards)]
        rows.append([*row, "-" if np.isnan(made) else f"{made:.0f}", f"{own.seconds.median():.1f}"])
    return "## Means\n\n" + table(head, rows)


def _differences(comparison: Comparison, images: pd.DataFrame) -> Iterator[str]:
    """Against each reference: plain sampling, the search that costs as much as the default, and the published methods' own sampler."""
    scores = {method: own.set_index(IMAGE)[comparison.rewards] for method, own in images.groupby("method")}
    for reference, others in COMPARED.items():
        rows = []
        for method in others:
            if method in scores and reference in scores:
                gain = (scores[method] - scores[reference]).dropna()
                cells = [f"{mean(gain, reward, '+.2f')}, better in {(gain[reward] > 0).sum()}" for reward in gain if len(gain)]
                rows += [[comparison.title(method), str(len(gain)), *cells]] if cells else []
        if rows:
            head = ["method", "pairs", *map(comparison.column, comparison.rewards)]
            yield f"## Differences from {comparison.title(reference)}, same prompt and seed\n\n" + table(head, rows)


def _failures(comparison: Comparison, store: Store) -> Iterator[str]:
    sentences: dict[str, list[str]] = {}
    for job in comparison.jobs():
        record = store.records.get(job.key, {})
        if "failed" in record:
            sentences.setdefault(f"{job.method}: {record['failed'].splitlines()[0]}", []).append(job.key)
    if sentences:
        lines = (f"- {sentence} ({len(keys)} images, the first {keys[0]})" for sentence, keys in sentences.items())
        yield "## What failed\n\n" + "\n".join(lines)
