"""Results on disk: one JSON line per image, appended as chunks are done, so that a run resumes where it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]


class Results:
    """The rows in ``folder`` of one half, by the method's fingerprint and the prompt's place."""

    def __init__(self, folder: Path, half: str, weights: str) -> None:
        self.path, self.images, self.weights = folder / f"{half}.jsonl", folder / half, weights
        self.images.mkdir(parents=True, exist_ok=True)
        self.rows: dict[tuple[str, int], Row] = {}
        written = self.path.read_text() if self.path.exists() else ""
        if written and not written.endswith("\n"):  # cut off in the middle of a line; the next one is not to be lost with it
            with self.path.open("a") as file:
                file.write("\n")
        for line in written.splitlines():
            self._keep(_parsed(line))

    def _keep(self, row: Row | None) -> None:
        if row is not None and row["weights"] == self.weights:
            self.rows[row["method"], row["place"]] = row

    def has(self, method: str, places: Iterable[int]) -> bool:
        return all((method, place) in self.rows for place in places)

    def add(self, method: str, first: int, rows: list[Row], images: np.ndarray) -> None:
        """Images first: a row on disk means that its image is there."""
        np.save(self.images / f"{method}-{first}.npy", images)
        with self.path.open("a") as file:
            for place, row in enumerate(rows, start=first):
                whole = {"method": method, "weights": self.weights, "place": place, "chunk": first, **row}
                self._keep(whole)
                file.write(json.dumps(whole) + "\n")

    def of(self, method: str, places: Sequence[int]) -> list[Row] | None:
        """The rows of these places (prompts.py), or ``None`` if some are missing."""
        return [self.rows[method, place] for place in places] if self.has(method, places) else None

    def image(self, row: Mapping[str, Any]) -> np.ndarray:
        """(3, 64, 64) uint8."""
        return np.asarray(np.load(self.images / f"{row['method']}-{row['chunk']}.npy")[row["place"] - row["chunk"]])


def weights_mark(folder: Path) -> str:
    """Changes with the demo model's weights, with which results are not to be mixed."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _parsed(line: str) -> Row | None:
    """A line that was cut off when the machine stopped is no result."""
    try:
        return dict(json.loads(line))
    except json.JSONDecodeError:
        return None
