"""The folder of a run: settings, images, and a line of JSON for each image, only ever added to. Whatever stops a run, it can go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sgool.harness.problems import SetupProblem

from .plan import Job, Plan, what_differs

SETTINGS, LINES = "settings.json", "results.jsonl"


class Results:
    """Reads what a folder holds and adds to it.

    Attributes:
        folder: where it is.
        records: the last record for each job's key.

    Raises:
        SetupProblem: the folder holds a run with other settings, or files that are not this command's.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        folder.mkdir(parents=True, exist_ok=True)
        self._agree_on_settings()
        self.records = self._read()

    def missing(self, *, retry_failed: bool = False) -> list[Job]:
        """The jobs that have no result yet."""

        def done(job: Job) -> bool:
            record = self.records.get(job.key)
            return record is not None and not (retry_failed and "failed" in record)

        return [job for job in self.plan.jobs() if not done(job)]

    def add(self, job: Job, record: dict[str, Any]) -> None:
        """Keep what came of a job. ``record["files"]``, path in the folder -> contents, are written before the line that names them."""
        files = record.pop("files", {})
        for name, contents in files.items():
            write(self.folder / name, contents)
        line = {
            "key": job.key,
            "prompt_index": job.prompt_index,
            "prompt": job.prompt,
            "seed_number": job.seed_number,
            "seed": job.seed,
            "method": job.method,
            **record,
        }
        self._append(json.dumps(line, ensure_ascii=False))
        self.records[job.key] = line

    def of(self, method: str) -> dict[tuple[int, int], dict[str, Any]]:
        """The results of a method that did not fail, by prompt and seed number."""
        wanted = {job.key for job in self.plan.jobs() if job.method == method}
        found = (record for key, record in self.records.items() if key in wanted and "failed" not in record)
        return {(record["prompt_index"], record["seed_number"]): record for record in found}

    def _append(self, line: str) -> None:
        with (self.folder / LINES).open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a run was stopped in the middle of a line
                    file.write(b"\n")
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> dict[str, dict[str, Any]]:
        path = self.folder / LINES
        records: dict[str, dict[str, Any]] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the line in which a run was stopped; its job is done again
            if isinstance(record, dict) and "key" in record:
                records[record["key"]] = record
        return records

    def _agree_on_settings(self) -> None:
        path = self.folder / SETTINGS
        if path.exists():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                raise SetupProblem(f"{path} is damaged. Take another --folder, or remove this one.") from None
            differences = what_differs(before, self.plan.to_dict())
            if differences:
                reasons = "\n  ".join(differences)
                raise SetupProblem(
                    f"{self.folder} holds a run with other settings. Take another --folder, or the same settings:\n  {reasons}"
                )
        elif (self.folder / LINES).exists():
            raise SetupProblem(f"{self.folder} has a {LINES}, but no {SETTINGS}, so nobody knows what was run. Take another --folder.")
        write(path, json.dumps(self.plan.to_dict(), indent=1, ensure_ascii=False).encode())


def write(path: Path, contents: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_bytes(contents)
    os.replace(unfinished, path)
