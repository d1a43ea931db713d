"""The paper-style table of a run, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from ..common.jobs import Record, Store
from ..common.markdown import table
from ..common.optimizer import DEFAULT_PRESET, evaluations, preset
from ..common.statistics import holm, mean_interval, paired, wilson
from .comparison import BEST_OF, EDICT, METHODS, PLAIN, PUBLISHED, WINNER, Comparison

Key = tuple[int, int]
Records = Mapping[Key, Record]
READING = (
    "Scores are 100 times the cosine of image and prompt; only numbers of one column can be compared. "
    "In brackets: 95 % bootstrap intervals over prompts (the mean of a prompt's seeds is one sample). "
    "An interval of differences that spans 0 shows nothing either way. "
    "Model calls are for one image, a gradient's backward counted as two."
)


def write_table(comparison: Comparison, store: Store) -> str:
    """Everything in one text: what was run, the means, the differences from plain sampling, what failed, how to read it."""
    methods = {method: by_key(comparison, store, method) for method in METHODS if method in comparison.methods}
    few = f" {len(comparison.prompts)} prompts are few: such a table finds large effects only." if len(comparison.prompts) < 50 else ""
    blocks = [_heading(comparison, store), *_warnings(comparison), _means(comparison, methods), *_differences(comparison, methods)]
    blocks += [*(_judged(comparison, methods) if comparison.demo else []), *_failures(comparison, store), READING + few]
    return "\n\n".join(blocks) + "\n"


def by_key(comparison: Comparison, store: Store, method: str) -> dict[Key, Record]:
    """The results of a method that did not fail, by prompt and seed number."""
    records = store.of(job for job in comparison.jobs() if job.method == method)
    return {(record["place"], record["seed_number"]): record for record in records}


def score(record: Record, reward: str) -> float:
    """100 times the cosine."""
    return 100 * float(record["optimized"] if reward == "optimized" else record["scores"][reward])


def right(record: Record) -> bool:
    """Whether the demo model's judge finds the image wholly right."""
    return str(record["verdict"]).startswith("right")


def by_prompt(values: Mapping[Key, float]) -> list[float]:
    """The mean of each prompt's seeds: images of one prompt are no independent samples, prompts are."""
    prompts = sorted({prompt for prompt, _ in values})
    return [statistics.fmean(value for (prompt, _), value in values.items() if prompt == each) for each in prompts]


def calls(record: Record) -> float | None:
    """Model evaluations of one image, a backward counted as two; None where the method does not tell."""
    cost, method = record.get("cost"), record["method"]
    return evaluations(preset(method if method in PUBLISHED else DEFAULT_PRESET), cost) if cost else None


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
        tells = (
            "the judge, which is, is the figure to read."
            if comparison.demo
            else "this table cannot tell a better image from a fooled reward."
        )
        yield f"**There is no reward here but the one that was optimized**, so its column is no independent figure; {tells}"


def _means(comparison: Comparison, methods: Mapping[str, Records]) -> str:
    head = ["method", "images", *map(comparison.column, comparison.rewards), *(["wholly right by the judge"] if comparison.demo else [])]
    head += ["model calls", "seconds (median)"]
    # KSampler and a sampler that is not optimized do not tell: as counted where the same sampler runs in another method.
    per_run = {PLAIN: _calls_of_a_run(methods, (BEST_OF,)), EDICT: _calls_of_a_run(methods, PUBLISHED)}
    rows = []
    for method, records in methods.items():
        row = [comparison.title(method), str(len(records))]
        if not records:
            rows.append([*row, *["-"] * (len(head) - 2)])
            continue
        row += [_mean({key: score(record, reward) for key, record in records.items()}) for reward in comparison.rewards]
        if comparison.demo:
            hits = sum(right(record) for record in records.values())
            low, high = wilson(hits, len(records))
            row.append(f"{100 * hits / len(records):.1f} % [{100 * low:.1f}, {100 * high:.1f}]")
        spent = [value for record in records.values() if (value := calls(record)) is not None]
        made = statistics.fmean(spent) if spent else per_run.get(method)
        seconds = statistics.median(record["seconds"] for record in records.values())
        rows.append([*row, "-" if made is None else f"{made:.0f}", f"{seconds:.1f}"])
    return "## Means\n\n" + table(head, rows)


def _calls_of_a_run(methods: Mapping[str, Records], of: Sequence[str]) -> float | None:
    """Model calls of one run of the sampler, forwards only, in some methods."""
    costs = [record["cost"] for method in of for record in methods.get(method, {}).values() if record.get("cost")]
    return statistics.fmean(cost["calls"] / cost["runs"] for cost in costs) if costs else None


def _differences(comparison: Comparison, methods: Mapping[str, Records]) -> Iterator[str]:
    """Against each reference: plain sampling, the search that costs as much as the default, and the published methods' own sampler."""
    compared = {PLAIN: METHODS[1:], BEST_OF: (*PUBLISHED, WINNER), EDICT: PUBLISHED}
    for reference, others in compared.items():
        rows = []
        for method in others:
            pairs = _pairs(methods, method, reference)
            gains = [{key: score(new, reward) - score(old, reward) for key, (new, old) in pairs.items()} for reward in comparison.rewards]
            cells = [f"{_mean(gain, sign=True)}, better in {sum(value > 0 for value in gain.values())}" for gain in gains if gain]
            rows += [[comparison.title(method), str(len(pairs)), *cells]] if pairs else []
        if rows:
            head = ["method", "pairs", *map(comparison.column, comparison.rewards)]
            yield f"## Differences from {comparison.title(reference)}, same prompt and seed\n\n" + table(head, rows)


def _pairs(methods: Mapping[str, Records], method: str, reference: str) -> dict[Key, tuple[Record, Record]]:
    """The records of the same prompt and seed under both."""
    new, old = methods.get(method, {}), methods.get(reference, {})
    return {key: (new[key], old[key]) for key in sorted(set(new) & set(old))}


def _judged(comparison: Comparison, methods: Mapping[str, Records]) -> Iterator[str]:
    compared = {method: both for method in methods if method != PLAIN and (both := list(_pairs(methods, method, PLAIN).values()))}
    pairs = [paired([right(new) for new, _ in both], [right(old) for _, old in both]) for both in compared.values()]
    rows = [
        [comparison.title(method), pair.n, pair.gained, pair.lost, f"{pair.p:.3f}", f"{p:.3f}"]
        for method, pair, p in zip(compared, pairs, holm([pair.p for pair in pairs]), strict=True)
    ]
    if rows:
        head = ["method", "pairs", "gained", "lost", "p (McNemar)", "p corrected (Holm)"]
        yield "## Wholly right, against plain\n\n" + table(head, rows)


def _failures(comparison: Comparison, store: Store) -> Iterator[str]:
    sentences: dict[str, list[str]] = {}
    for job in comparison.jobs():
        record = store.records.get(job.key, {})
        if "failed" in record:
            sentences.setdefault(f"{job.method}: {record['failed'].splitlines()[0]}", []).append(job.key)
    if sentences:
        lines = (f"- {sentence} ({len(keys)} images, the first {keys[0]})" for sentence, keys in sentences.items())
        yield "## What failed\n\n" + "\n".join(lines)


def _mean(values: Mapping[Key, float], *, sign: bool = False) -> str:
    samples = by_prompt(values)
    form = "+.2f" if sign else ".2f"
    low, high = mean_interval(samples)
    return f"{statistics.fmean(samples):{form}} [{low:{form}}, {high:{form}}]"
