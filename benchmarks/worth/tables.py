"""Results as rows of images, and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from ..common.jobs import Job, Record, Store
from ..common.markdown import table
from ..common.statistics import holm, paired, wilson
from .prompts import CHUNK

Outcomes = Mapping[str, Sequence[Record]]
HEAD = ("method", "right, % (95 %)", "evaluations", "CPU s", "points (95 %)", "gained / lost", "p", "p, Holm", "reward")


def rows_of(store: Store, jobs: Iterable[Job], count: int) -> list[Record]:
    """A row for each of the first ``count`` prompts under each seed, each with its image's file and place in it. ``jobs``: one method's."""
    rows = []
    for record in store.of(jobs):
        first = record["place"] * CHUNK
        rows += [{**row, "image": record["image"], "column": i} for i, row in enumerate(record["rows"]) if first + i < count]
    return rows


def image_of(store: Store, row: Record) -> Image.Image:
    """The image of a row."""
    with Image.open(store.folder / row["image"]) as strip:
        return strip.crop((row["column"] * strip.height, 0, (row["column"] + 1) * strip.height, strip.height))


def comparison_table(outcomes: Outcomes, base: str) -> str:
    """One line a method: how many are right, what they cost, and how they differ from ``base`` on the same images."""
    pairs = {name: paired(rights(rows), rights(outcomes[base])) for name, rows in outcomes.items() if name != base}
    corrected = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    lines = []
    for name, rows in outcomes.items():
        low, high = wilson(sum(rights(rows)), len(rows))
        against = [""] * 4
        if name in pairs:
            pair, (below, above) = pairs[name], pairs[name].interval
            against = [f"{100 * pair.difference:+.1f} ({100 * below:+.0f} to {100 * above:+.0f})", f"{pair.gained} / {pair.lost}"]
            against += [p_text(pair.p), p_text(corrected[name])]
        hits = f"**{100 * mean(rows, 'right'):.1f}** ({100 * low:.0f} to {100 * high:.0f})"
        cost = [f"{rows[0]['evaluations']:.0f}", f"{mean(rows, 'seconds'):.2f}"]
        lines.append([name, hits, *cost, *against, f"{mean(rows, 'similarity'):.3f}"])
    return table([f"{cell}, against {base}" if cell.startswith("points") else cell for cell in HEAD], lines)


def kinds_table(outcomes: Outcomes) -> str:
    """Per cent right by kind of prompt, and what is wrong with the others."""

    kinds = list(dict.fromkeys(row["kind"] for rows in outcomes.values() for row in rows))

    def cells(rows: Sequence[Record]) -> list[str]:
        by_kind = ([row for row in rows if row["kind"] == kind] for kind in kinds)
        shares = [mean(of_kind, "right") for of_kind in by_kind] + [mean(rows, part) for part in ("objects", "count", "relation")]
        return [f"{100 * share:.0f}" for share in shares]

    return table(["method", *kinds, "objects there", "count", "relation"], [[name, *cells(rows)] for name, rows in outcomes.items()])


def gained_and_lost(rows: Sequence[Record], base: Sequence[Record]) -> dict[str, list[tuple[Record, Record]]]:
    """The pairs (base's row, method's row) of which only one is right."""
    pairs = [pair for pair in zip(base, rows, strict=True) if pair[0]["right"] != pair[1]["right"]]
    return {"gained": [pair for pair in pairs if pair[1]["right"]], "lost": [pair for pair in pairs if pair[0]["right"]]}


def rights(rows: Sequence[Record]) -> list[bool]:
    return [bool(row["right"]) for row in rows]


def mean(rows: Sequence[Record], key: str) -> float:
    return float(np.mean([float(row[key]) for row in rows])) if rows else 0.0


def p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
