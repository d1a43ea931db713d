"""What is to be run, as jobs with stable keys, and the folder of results that a run can be resumed from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sgool.harness.problems import SetupProblem

SETTINGS, LINES = "settings.json", "results.jsonl"
MAY_GROW = "prompts"  # at its end; every other setting has to stay
SEEDS_A_PROMPT = 1000  # room between the seeds of one prompt and those of the next
Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A prompt (or some, which are sampled together), a seed and a method.

    Attributes:
        place: of the prompt, or of the prompts, in the list of all.
        seed_number: which of the prompt's seeds.
        prompts: what is to be painted.
        method: by which method, as keys and files name it.
    """

    place: int
    seed_number: int
    prompts: tuple[str, ...]
    method: str

    @property
    def key(self) -> str:
        """Names the job in the results, and its files."""
        return f"{self.place:04d}-{self.seed_number:02d}-{self.method}"

    @property
    def seed(self) -> int:
        """The same for all methods, so that they begin with the same noise."""
        return self.place * SEEDS_A_PROMPT + self.seed_number


def plan(prompts: Sequence[tuple[str, ...]], seeds: int, methods: Iterable[str]) -> list[Job]:
    """Every job. A run that is stopped early has whole prompts: all methods of one, then the next; then the next seed."""
    methods = list(methods)
    return [Job(place, number, each, method) for number in range(seeds) for place, each in enumerate(prompts) for method in methods]


class Store:
    """A folder of results: settings, files, and one line of JSON for each job, only ever added to.

    Args:
        folder: made where missing.
        settings: all that decides what results become, as plain JSON values. A folder with other settings is refused, since its results
            are not to be mixed with these; ``prompts`` may have become longer or shorter.

    Attributes:
        records: the last record for each job's key.

    Raises:
        SetupProblem: the folder holds a run with other settings, or none that are known.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self._lines = folder, folder / LINES
        path, own = folder / SETTINGS, json.loads(json.dumps(settings))
        if path.exists():
            _refuse_other(parsed(path.read_text(encoding="utf-8")), own, folder)
        elif self._lines.exists():
            raise SetupProblem(f"{folder} has a {LINES}, but no {SETTINGS}, so nobody knows what was run. Take another --folder.")
        write(path, json.dumps(own, indent=1, ensure_ascii=False).encode())
        text = self._lines.read_text(encoding="utf-8", errors="replace") if self._lines.exists() else ""
        if text and not text.endswith("\n"):  # a run was stopped in the middle of a line; its job is done again
            self._append("\n")
        self.records: dict[str, Record] = {record["key"]: record for record in map(parsed, text.splitlines()) if record}

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs that have no result yet, or failed."""
        return [job for job in jobs if "failed" in self.records.get(job.key, {"failed": ""})]

    def add(self, job: Job, record: Record) -> None:
        """Keep what came of a job. ``record["files"]``, path in the folder -> contents, are written before the line that names them."""
        for name, contents in record.get("files", {}).items():
            write(self.folder / name, contents)
        line = {"key": job.key, **asdict(job), **{name: value for name, value in record.items() if name != "files"}}
        self._append(json.dumps(line, ensure_ascii=False) + "\n")
        self.records[job.key] = line

    def of(self, jobs: Iterable[Job]) -> list[Record]:
        """The records of jobs that did not fail."""
        return [self.records[job.key] for job in jobs if "failed" not in self.records.get(job.key, {"failed": ""})]

    def _append(self, text: str) -> None:
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _refuse_other(old: Any, new: Mapping[str, Any], folder: Path) -> None:
    if old is None:
        raise SetupProblem(f"{folder / SETTINGS} is damaged. Take another --folder, or remove this one.")
    fewer = min(len(settings.get(MAY_GROW, ())) for settings in (old, new))
    before, now = ({**settings, MAY_GROW: settings.get(MAY_GROW, [])[:fewer]} for settings in (old, new))
    if changed := [f"{name} {old.get(name)!r}" for name in sorted({*before, *now}) if before.get(name) != now.get(name)]:
        raise SetupProblem(f"{folder} holds a run with other settings: {', '.join(changed)}. Take another --folder, or the same settings.")


def parsed(text: str) -> Any:
    """A JSON document; None for one that was cut off."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def write(path: Path, contents: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_bytes(contents)
    os.replace(unfinished, path)
