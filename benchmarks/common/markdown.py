"""Tables in Markdown, the only form in which benchmarks print them, and in CSV, as docs/data keeps them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

Row = Sequence[object]


def table(head: Sequence[str], rows: Sequence[Row]) -> str:
    """A Markdown table. A bar inside a cell is escaped."""
    lines = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *lines))


def tell(head: Sequence[str], rows: Sequence[Row], path: Path | None = None) -> None:
    """Print a table, and write it as CSV where there is a path for it."""
    print(table(head, rows))
    if path is not None:
        write_csv(path, head, rows)


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Row]) -> None:
    """The same as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
