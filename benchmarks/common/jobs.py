"""What is to be run, as jobs with stable keys, and the folder of results that a run can be resumed from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgool.harness.problems import SetupProblem

SETTINGS, LINES = "settings.json", "results.jsonl"
MAY_GROW = ("prompts",)  # at its end; every other setting has to stay
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
            are not to be mixed with these; the lists in ``MAY_GROW`` may have become longer.

    Attributes:
        records: the last record for each job's key.

    Raises:
        SetupProblem: the folder holds a run with other settings, or files that are not this command's.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._agree_on(json.loads(json.dumps(settings)))
        self.records = self._read()

    def missing(self, jobs: Sequence[Job], *, retry_failed: bool = False) -> list[Job]:
        """The jobs that have no result yet."""
        there = {key for key, record in self.records.items() if not (retry_failed and "failed" in record)}
        return [job for job in jobs if job.key not in there]

    def add(self, job: Job, record: Record) -> None:
        """Keep what came of a job. ``record["files"]``, path in the folder -> contents, are written before the line that names them."""
        for name, contents in record.get("files", {}).items():
            write(self.folder / name, contents)
        own = {"key": job.key, "place": job.place, "seed_number": job.seed_number, "prompts": job.prompts, "method": job.method}
        line = {**own, **{name: value for name, value in record.items() if name != "files"}}
        with (self.folder / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records[job.key] = line

    def of(self, jobs: Iterable[Job]) -> list[Record]:
        """The records of jobs that did not fail."""
        found = (self.records.get(job.key, {"failed": ""}) for job in jobs)
        return [record for record in found if "failed" not in record]

    def _read(self) -> dict[str, Record]:
        path = self.folder / LINES
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        if text and not text.endswith("\n"):  # a run was stopped in the middle of a line; its job is done again
            path.write_bytes(path.read_bytes() + b"\n")
        records = [record for line in text.splitlines() if isinstance(record := parsed(line), dict) and "key" in record]
        return {record["key"]: record for record in records}

    def _agree_on(self, settings: dict[str, Any]) -> None:
        path = self.folder / SETTINGS
        if path.exists():
            before = parsed(path.read_text(encoding="utf-8"))
            if before is None:
                raise SetupProblem(f"{path} is damaged. Take another --folder, or remove this one.")
            if reasons := "".join(f"\n  {name} was {old!r} and is {new!r}" for name, old, new in differences(before, settings)):
                raise SetupProblem(f"{self.folder} holds a run with other settings. Take another --folder, or the same settings:{reasons}")
        elif (self.folder / LINES).exists():
            raise SetupProblem(f"{self.folder} has a {LINES}, but no {SETTINGS}, so nobody knows what was run. Take another --folder.")
        write(path, json.dumps(settings, indent=1, ensure_ascii=False).encode())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Why a folder that was begun with the settings ``old`` cannot go on with ``new``: name and both values."""
    for name in sorted({*old, *new}):
        if name in MAY_GROW:
            numbered = enumerate(zip(old.get(name, ()), new.get(name, ()), strict=False), start=1)
            yield from [(f"{name.removesuffix('s')} {number}", *both) for number, both in numbered if both[0] != both[1]][:1]
        elif old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


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
