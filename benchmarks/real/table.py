"""The paper-style table of a run, in markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from sgool.benchmarks.worth.statistics import holm, mean_interval, paired, wilson
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule

from .cost import BACKWARD, differentiated
from .plan import BEST_OF, EDICT, METHODS, PLAIN, PUBLISHED, WINNER, Plan
from .results import Results

Key = tuple[int, int]
Records = dict[Key, dict[str, Any]]


def write_table(results: Results) -> str:
    """Everything in one text: what was run, the means, the differences from plain sampling, what failed, how to read it."""
    plan = results.plan
    methods = [(method, results.of(method)) for method in order(plan.methods)]
    blocks = [_heading(results), *_warnings(plan), _means(plan, methods)]
    blocks += _differences(plan, methods)
    if plan.demo:
        blocks += _judged(plan, methods)
    blocks += [_failures(results), _reading(plan)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def order(methods: Sequence[str]) -> list[str]:
    """Methods as the table has them."""
    return sorted(methods, key=METHODS.index)


def title(plan: Plan, method: str) -> str:
    """What a method's row is called."""
    named = {BEST_OF: f"best of {plan.best_of}", EDICT: "EDICT, not optimized", WINNER: "this pack's default"}
    return named.get(method, method)


def scorers(plan: Plan) -> list[str]:
    """The scorers that judge, in the order of the columns, then the one that was optimized."""
    return [*plan.judging_scorers, "optimized"]


def score(record: dict[str, Any], scorer: str) -> float:
    """100 times the cosine."""
    return 100 * float(record["optimized"] if scorer == "optimized" else record["scores"][scorer])


def right(record: dict[str, Any]) -> bool:
    """Whether the demo model's judge finds the image wholly right."""
    return str(record["verdict"]).startswith("right")


def by_prompt(values: dict[Key, float]) -> list[float]:
    """The mean of each prompt's seeds: images of one prompt are no independent samples, prompts are."""
    prompts = sorted({prompt for prompt, _ in values})
    return [statistics.fmean(value for (prompt, _), value in values.items() if prompt == each) for each in prompts]


def calls(plan: Plan, record: dict[str, Any]) -> float | None:
    """Model evaluations of one image, a backward counted as two."""
    cost = record.get("cost")
    if not cost:
        return None
    chosen = plan.default.get("jacobian", {}) if record["method"] == WINNER else {}  # the published methods differentiate every call
    carried = differentiated(JacobianSchedule(**chosen), cost["calls"] // cost["runs"])
    return float(cost["calls"] + BACKWARD * cost["backwards"] * carried)


def _heading(results: Results) -> str:
    plan = results.plan
    all_jobs = len(plan.jobs())
    missing = len(results.missing())
    devices = sorted({record["device"] for record in results.records.values() if record.get("device")})
    iterations = "each preset's own number of" if plan.iterations < 0 else plan.iterations
    saliency = plan.saliency_model or "the default predictor"
    lines = [
        f"# {'The demo model' if plan.demo else plan.checkpoint}",
        "",
        f"{len(plan.prompts)} prompts x {plan.seeds} seeds, {plan.width} x {plan.height}, {plan.sampler}, {plan.scheduler}, "
        f"{plan.steps} steps, CFG {plan.cfg:g}; {iterations} iterations. {all_jobs - missing} of {all_jobs} images are there.",
        f"Optimized: {_optimized_name(plan)}. Saliency: {saliency}. On {', '.join(devices) or 'nothing yet'}.",
    ]
    return "\n".join(lines)


def _optimized_name(plan: Plan) -> str:
    return "the embedded scorer" if plan.demo else plan.optimized_scorer


def _warnings(plan: Plan) -> list[str]:
    found = []
    if plan.optimized_scorer in plan.judging_scorers and not plan.demo:
        found.append(
            f"**Warning: {plan.optimized_scorer} is both optimized and judging.** Its column says how well the optimizer pleased it, not "
            "whether images became better. Read the other columns, or run again with another scorer."
        )
    if not plan.judging_scorers:
        rest = "the judge, which is, is the figure to read." if plan.demo else "this table cannot tell a better image from a fooled scorer."
        found.append(f"**There is no scorer here but the one that was optimized**, so its column is no independent figure; {rest}")
    return found


def _means(plan: Plan, methods: Sequence[tuple[str, Records]]) -> str:
    head = ["method", "images", *(_column(plan, scorer) for scorer in scorers(plan))]
    head += [*(["wholly right by the judge"] if plan.demo else []), "model calls", "seconds (median)"]
    # KSampler and a sampler that is not optimized do not tell: as counted where the same sampler runs in another method.
    per_run = {PLAIN: _calls_of_a_run(methods, (BEST_OF,)), EDICT: _calls_of_a_run(methods, PUBLISHED)}
    rows = []
    for method, records in methods:
        if not records:
            rows.append([title(plan, method), "0", *["-"] * (len(head) - 2)])
            continue
        row = [title(plan, method), str(len(records))]
        row += [_mean({key: score(record, scorer) for key, record in records.items()}) for scorer in scorers(plan)]
        if plan.demo:
            hits = sum(right(record) for record in records.values())
            low, high = wilson(hits, len(records))
            row.append(f"{100 * hits / len(records):.1f} % [{100 * low:.1f}, {100 * high:.1f}]")
        spent = [value for record in records.values() if (value := calls(plan, record)) is not None]
        made = statistics.fmean(spent) if spent else per_run.get(method)
        row += ["-" if made is None else f"{made:.0f}", f"{statistics.median(record['seconds'] for record in records.values()):.1f}"]
        rows.append(row)
    return "## Means\n\n" + _markdown(head, rows)


def _calls_of_a_run(methods: Sequence[tuple[str, Records]], of: Sequence[str]) -> float | None:
    """Model calls of one run of the sampler, forwards only, in some methods."""
    costs = [record["cost"] for method, records in methods if method in of for record in records.values() if record.get("cost")]
    return statistics.fmean(cost["calls"] / cost["runs"] for cost in costs) if costs else None


def _differences(plan: Plan, methods: Sequence[tuple[str, Records]]) -> list[str]:
    """Against each reference: plain sampling, the search that costs as much as the default, and the published methods' own sampler."""
    found = []
    compared = {PLAIN: METHODS[1:], BEST_OF: (*PUBLISHED, WINNER), EDICT: PUBLISHED}
    for reference, others in compared.items():
        base = dict(methods).get(reference, {})
        rows = []
        for method, records in methods:
            common = sorted(set(records) & set(base))
            if method not in others or not common:
                continue
            row = [title(plan, method), str(len(common))]
            for scorer in scorers(plan):
                gain = {key: score(records[key], scorer) - score(base[key], scorer) for key in common}
                better = sum(value > 0 for value in gain.values())
                row.append(f"{_mean(gain, sign=True)}, better in {better}")
            rows.append(row)
        if rows:
            head = ["method", "pairs", *(_column(plan, scorer) for scorer in scorers(plan))]
            found.append(f"## Differences from {title(plan, reference)}, same prompt and seed\n\n" + _markdown(head, rows))
    return found


def _judged(plan: Plan, methods: Sequence[tuple[str, Records]]) -> list[str]:
    base = dict(methods).get(PLAIN, {})
    compared = []
    for method, records in methods:
        common = sorted(set(records) & set(base))
        if method != PLAIN and common:
            compared.append((method, paired([right(records[key]) for key in common], [right(base[key]) for key in common])))
    if not compared:
        return []
    corrected = holm([pair.p for _, pair in compared])
    rows = [
        [title(plan, method), str(pair.n), str(pair.gained), str(pair.lost), f"{pair.p:.3f}", f"{p:.3f}"]
        for (method, pair), p in zip(compared, corrected, strict=True)
    ]
    head = ["method", "pairs", "gained", "lost", "p (McNemar)", "p corrected (Holm)"]
    return ["## Wholly right, against plain\n\n" + _markdown(head, rows)]


def _failures(results: Results) -> str:
    sentences: dict[str, list[str]] = {}
    for job in results.plan.jobs():
        record = results.records.get(job.key, {})
        if "failed" in record:
            sentences.setdefault(f"{job.method}: {record['failed'].splitlines()[0]}", []).append(job.key)
    lines = [f"- {sentence} ({len(keys)} images, the first {keys[0]})" for sentence, keys in sentences.items()]
    return "## What failed\n\n" + "\n".join(lines) if lines else ""


def _reading(plan: Plan) -> str:
    lines = [
        "Scores are 100 times the cosine of image and prompt; only numbers of one column can be compared.",
        "In brackets: 95 % bootstrap intervals over prompts (the mean of a prompt's seeds is one sample).",
        "An interval of differences that spans 0 shows nothing either way.",
        "Model calls are for one image, a gradient's backward counted as two.",
    ]
    if len(plan.prompts) < 50:
        lines.append(f"{len(plan.prompts)} prompts are few: such a table finds large effects only.")
    return " ".join(lines)


def _column(plan: Plan, scorer: str) -> str:
    return f"{_optimized_name(plan)} (optimized)" if scorer == "optimized" else scorer


def _mean(values: dict[Key, float], *, sign: bool = False) -> str:
    samples = by_prompt(values)
    form = "+.2f" if sign else ".2f"
    low, high = mean_interval(samples)
    return f"{statistics.fmean(samples):{form}} [{low:{form}}, {high:{form}}]"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
