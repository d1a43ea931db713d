"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .prompts import KINDS
from .results import Row
from .statistics import holm, paired, wilson

Outcomes = Mapping[str, Sequence[Row]]


def main_table(outcomes: Outcomes, baseline: str) -> str:
    """One line a method: how many are right, what they cost, and how they differ from ``baseline`` on the same images."""
    others = [name for name in outcomes if name != baseline]
    pairs = {name: paired(rights(outcomes[name]), rights(outcomes[baseline])) for name in others}
    corrected = dict(zip(others, holm([pairs[name].p for name in others]), strict=True))
    lines = [
        f"| method | right, % (95 %) | evaluations | CPU s | against {baseline}: points (95 %) | gained / lost | p | p, Holm | scorer |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in outcomes.items():
        hits, n = sum(rights(rows)), len(rows)
        low, high = wilson(hits, n)
        cells = [
            name,
            f"**{100 * hits / n:.1f}** ({100 * low:.0f} to {100 * high:.0f})",
            f"{rows[0]['evaluations']:.0f}",
            f"{mean(rows, 'seconds'):.2f}",
        ]
        if name in pairs:
            pair, (below, above) = pairs[name], pairs[name].interval
            cells += [f"{100 * pair.difference:+.1f} ({100 * below:+.0f} to {100 * above:+.0f})", f"{pair.gained} / {pair.lost}"]
            cells += [p_text(pair.p), p_text(corrected[name])]
        else:
            cells += ["", "", "", ""]
        cells.append(f"{mean(rows, 'similarity'):.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def short_table(outcomes: Outcomes, base: str) -> str:
    """One short line a method, for many of them: each as what it changes of ``base``, with the uncorrected p."""
    lines = [
        "| changed | right, % | points (95 %) | gained / lost | p | evaluations | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in outcomes.items():
        pair = paired(rights(rows), rights(outcomes[base]))
        below, above = pair.interval
        points = f"{100 * pair.difference:+.0f} ({100 * below:+.0f} to {100 * above:+.0f}) | {pair.gained} / {pair.lost} | {p_text(pair.p)}"
        cells = [name, f"{100 * mean(rows, 'right'):.0f}", points if name != base else " | | ", f"{rows[0]['evaluations']:.0f}"]
        lines.append(f"| {' | '.join(cells)} | {mean(rows, 'seconds'):.1f} |")
    return "\n".join(lines)


def ideas_table(ideas: Mapping[str, tuple[str, str]], outcomes: Outcomes, baseline: str) -> str:
    """Each idea's hypothesis and prediction, and what came of it. ``ideas`` gives both by the name of the method."""
    lines = [f"| idea | why | predicted | right, %, against {baseline} | gained / lost |", "| --- | --- | --- | --- | --- |"]
    theirs = 100 * mean(outcomes[baseline], "right")
    for name, (why, predicted) in ideas.items():
        if name in outcomes:
            pair = paired(rights(outcomes[name]), rights(outcomes[baseline]))
            ours = f"{100 * mean(outcomes[name], 'right'):.0f} against {theirs:.0f}"
            lines.append(f"| {name} | {why} | {predicted} | {ours} | {pair.gained} / {pair.lost} |")
    return "\n".join(lines)


def kinds_table(outcomes: Outcomes) -> str:
    """Per cent right by kind of prompt, and what is wrong with the others."""
    lines = [f"| method | {' | '.join(KINDS)} | objects there | count | relation |", "| --- " * (len(KINDS) + 4) + "|"]
    for name, rows in outcomes.items():
        cells = [f"{100 * mean([row for row in rows if row['kind'] == kind], 'right'):.0f}" for kind in KINDS]
        cells += [f"{100 * mean(rows, part):.0f}" for part in ("objects", "count", "relation")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def gained_and_lost(rows: Sequence[Row], baseline: Sequence[Row]) -> dict[str, list[tuple[Row, Row]]]:
    """The pairs (baseline's row, method's row) of which only one is right."""
    pairs = list(zip(baseline, rows, strict=True))
    return {
        "gained": [pair for pair in pairs if pair[1]["right"] and not pair[0]["right"]],
        "lost": [pair for pair in pairs if pair[0]["right"] and not pair[1]["right"]],
    }


def rights(rows: Sequence[Row]) -> list[bool]:
    return [bool(row["right"]) for row in rows]


def mean(rows: Sequence[Row], key: str) -> float:
    return sum(float(row[key]) for row in rows) / max(1, len(rows))


def p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
